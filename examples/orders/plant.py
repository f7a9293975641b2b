"""Plants a mistake: copies a source, with one piece of text in it replaced by another.

    plant.py SOURCE COPY TEXT REPLACEMENT
"""

import sys

source, copy, text, replacement = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    content = file.read()
if content.count(text) != 1:
    sys.exit(f"{source}: there should be one {text!r}, and there are {content.count(text)}")
with open(copy, "w", encoding="utf-8") as file:
    file.write(content.replace(text, replacement))
