"""Three services that are killed at random: every order ends whole or undone.

Method: the commands of docs/tutorial-orders.md are run in a shell, and what they print is compared with what is
shown. Then the three programs of examples/orders are run for real, are killed (SIGKILL) and frozen (SIGSTOP) at times
that a seed decides, while orders come and are cancelled; in the end `orders check` proves from the three stores
that everything is right. That it would notice if it were not is shown with programs that contain a mistake.

Arguments are those of the tests of the command line, and the directory of the programs.

    STELE_ORDERS_ROUNDS=N   rounds of killing; 1 if it is not set
    STELE_ORDERS_SEED=N     repeats a round
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cli"))
PROGRAMS = os.path.abspath(sys.argv.pop(4))

from documents import DOCS, commands_of, compare, console_blocks, read, run_session  # noqa: E402
from harness import HANGS, Stele, free_ports, has, main, same, wait_until  # noqa: E402

SERVICES = ("orders", "payments", "inventory")


class Shop:
    """The three processes, and somebody who asks them."""

    def __init__(self, s, patience_ms=30000, payments="payments"):
        self.s, self.patience_ms = s, patience_ms
        self.programs = {"orders": "orders", "payments": payments, "inventory": "inventory"}
        self.ports = dict(zip(SERVICES, free_ports(3)))
        self.processes = {}
        self.frozen = set()
        self.is_parallel = False
        for service in SERVICES:
            self.start(service)

    def start(self, service):
        arguments = [service + "-data", str(self.ports[service])]
        if service == "orders":
            arguments = ["serve", *arguments, "--patience", str(self.patience_ms), "--attempts", "5"]
            arguments += [f"http://127.0.0.1:{self.ports[name]}" for name in SERVICES[1:]]
            arguments += ["--parallel"] if self.is_parallel else []
        self.processes[service] = subprocess.Popen(
            [os.path.join(PROGRAMS, self.programs[service]), *arguments], cwd=self.s.dir,
            env=self.s.env, stdin=subprocess.DEVNULL)

    def kill(self, service):
        self.frozen.discard(service)
        self.processes[service].kill()
        self.processes[service].wait()
        self.start(service)

    def freeze(self, service):
        os.kill(self.processes[service].pid, signal.SIGSTOP)
        self.frozen.add(service)

    def thaw(self):
        for service in self.frozen:
            os.kill(self.processes[service].pid, signal.SIGCONT)
        self.frozen.clear()

    def ask(self, service, method, path, body=None, key=None):
        """Asks until there is an answer: its status and its text."""
        end = time.monotonic() + HANGS
        while True:
            assert self.processes[service].poll() is None, f"{service} has ended by itself"
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[service], timeout=HANGS)
            try:
                connection.request(method, path, body, {"Idempotency-Key": key} if key else {})
                answer = connection.getresponse()
                text = answer.read().decode().strip()
                if answer.status != 503:
                    return answer.status, text
            except (ConnectionError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            assert time.monotonic() < end, f"{service} does not answer"
            time.sleep(0.01)

    def give(self, path, **body):
        service = "payments" if path.startswith("/wallets") else "inventory"
        status, text = self.ask(service, "POST", path, json.dumps(body), key="given" + path)
        same((status, text), (200, "done"))

    def place(self, number, to="Paris", customer="ada", item="lamp", quantity=1, amount=100):
        order = {"customer": customer, "item": item, "quantity": quantity, "amount": amount, "to": to}
        status, text = self.ask("orders", "PUT", f"/orders/{number}", json.dumps(order),
                                key=f"place/{number}")
        same((status, text), (202, "done"))

    def check(self):
        ended = subprocess.run(
            [os.path.join(PROGRAMS, "orders"), "check", *(name + "-data" for name in SERVICES)],
            cwd=self.s.dir, env=self.s.env, capture_output=True, text=True, timeout=HANGS)
        assert ended.returncode in (0, 1, 3), f"{ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.returncode, ended.stdout

    def has_ended(self):
        return self.check()[0] != 3

    def close(self):
        """Every process ends in order, with its exit code."""
        self.thaw()
        for process in self.processes.values():
            process.terminate()
        same([process.wait(timeout=HANGS) for process in self.processes.values()], [0, 0, 0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()


def test_tutorial(s: Stele):
    """every command of docs/tutorial-orders.md prints what is shown"""
    s.env["PATH"] = PROGRAMS + ":" + s.env["PATH"]
    pairs = commands_of(console_blocks(read(os.path.join(DOCS, "tutorial-orders.md"))))
    assert len(pairs) > 40
    for port, free in zip((7001, 7002, 7003), free_ports(3)):
        pairs = [[command.replace(f":{port}", f":{free}").replace(f"-data {port}", f"-data {free}"), shown]
                 for command, shown in pairs]
    # Whatever happens, the services do not outlive the shell.
    pairs.insert(0, ["trap 'jobs=$(jobs -p); test -z \"$jobs\" || kill -9 $jobs' EXIT", []])
    compare("tutorial-orders.md", pairs, run_session(s, pairs), "…")


def run_round(s, seed):
    chance = random.Random(seed)
    customers, items = ["ada", "bob", "cy"], ["lamp", "desk"]
    with Shop(s, patience_ms=500) as shop:
        for customer in customers:
            shop.give(f"/wallets/{customer}", amount=2000)
        for item in items:
            shop.give(f"/items/{item}", quantity=12)

        def trouble():
            what = chance.random()
            if what < 0.25:
                shop.is_parallel = chance.random() < 0.5
                shop.kill(chance.choice(SERVICES))
            elif what < 0.35:
                shop.freeze(chance.choice(SERVICES[1:]))
            elif what < 0.5:
                shop.thaw()

        count = 30
        for number in range(count):
            shop.place(number, chance.choice(["Paris", "Rome", "Bonn", "PO box 9"]),
                       chance.choice(customers), chance.choice(items),
                       chance.randrange(1, 4), chance.randrange(1, 500))
            if chance.random() < 0.2:
                status, _ = shop.ask("orders", "POST", f"/orders/{number}/cancel")
                assert status in (200, 409), status
            trouble()
        for _ in range(10):
            trouble()
            code, told = shop.check()
            assert code != 1, told
        shop.thaw()
        wait_until(shop.has_ended)
        shop.close()
        code, told = shop.check()
        same(code, 0)
        same(s.run("--store", "orders-data", "saga", "status", "--parked").out, "")
        has(told, " 0 parked, 0 not ended: everything is right")
        same(sum(int(word) for word in told.split() if word.isdigit()), count)
        print(f"# {told.strip()}")


def test_killed_at_random(s: Stele):
    """whatever is killed or frozen, each order ends whole or undone, and each effect happens once"""
    seed = int(os.environ.get("STELE_ORDERS_SEED", random.SystemRandom().randrange(1 << 30)))
    for number in range(int(os.environ.get("STELE_ORDERS_ROUNDS", "1"))):
        print(f"# STELE_ORDERS_SEED={seed + number}", flush=True)
        os.mkdir(s.path(f"round-{number}"))
        whole, s.dir = s.dir, s.path(f"round-{number}")
        try:
            run_round(s, seed + number)
        finally:
            s.dir = whole


def test_half_a_request_is_no_refusal(s: Stele):
    """what did not come whole is asked for again: 408, and not a status that means no"""
    with Shop(s) as shop:
        shop.give("/wallets/ada", amount=1)
        for half in (b"DELETE /payments/1 HTT", b"DELETE /payments/1 HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}"):
            with socket.create_connection(("127.0.0.1", shop.ports["payments"])) as client:
                client.sendall(half)
                client.shutdown(socket.SHUT_WR)
                has(client.makefile("rb").read().decode(), "HTTP/1.1 408 ")


def frozen_then_asked_twice(s, payments):
    """payments is asked at least twice for one order before it can answer. What the proof says."""
    with Shop(s, patience_ms=200, payments=payments) as shop:
        shop.give("/wallets/ada", amount=10000)
        shop.give("/items/lamp", quantity=5)
        shop.freeze("payments")
        shop.place(1)
        wait_until(lambda: shop.s.run("--store", "orders-data", "read", "saga.order-1",
                                      code=None).out.count('"payment","attempt":') >= 5)
        shop.thaw()
        wait_until(shop.has_ended)
        shop.close()
        return shop.check()


def shipped_to_a_box(s, payments):
    with Shop(s, payments=payments) as shop:
        shop.give("/wallets/ada", amount=10000)
        shop.give("/items/lamp", quantity=5)
        shop.place(1, to="PO box 7")
        wait_until(shop.has_ended)
        shop.close()
        return shop.check()


def test_the_proof_accepts_what_is_right(s: Stele):
    """a payment that is asked for twice while nobody answers is made once"""
    code, told = frozen_then_asked_twice(s, "payments")
    same((code, told.split(": ")[1]), (0, "everything is right\n"))


def test_the_proof_finds_a_forgotten_key(s: Stele):
    """a service that forgets keys charges twice, and the proof says so"""
    code, told = frozen_then_asked_twice(s, "payments-forgets-keys")
    same(code, 1)
    has(told, "wrong: 1: charged ")
    has(told, "wrong: 1: debited ")


def test_the_proof_finds_a_forgotten_refund(s: Stele):
    """a service that forgets refunds keeps the money, and the proof says so"""
    code, told = shipped_to_a_box(s, "payments-forgets-refunds")
    same(code, 1)
    has(told, "wrong: 1: cancelled, and its money was kept")
    has(told, "wrong: wallet-ada: 9900 are left of 10000, and the orders took 0")


def test_the_proof_finds_what_was_tampered_with(s: Stele):
    """every rule of the proof finds the one event too many that breaks it"""
    code, told = shipped_to_a_box(s, "payments")
    same(code, 0)
    mistakes = [
        ("payments", "payment-2", "PaymentCharged", '{"customer":"ada","amount":1}', "without an order"),
        ("payments", "payment-1", "PaymentRefunded", '{"customer":"ada","amount":100}', "refunded 2 times"),
        ("payments", "wallet-ada", "Debited", '{"order":"1","amount":7}', "debited of another amount"),
        ("payments", "wallet-bob", "Debited", '{"order":"1","amount":7}', "wallet-bob: was below zero"),
        ("inventory", "item-lamp", "Returned", '{"order":"1","quantity":1}', "half of an append"),
        ("inventory", "reservation-1", "ShipmentScheduled", '{"to":"Rome"}', "and it is shipped"),
        ("inventory", "reservation-1", "StockReserved", '{"item":"lamp","quantity":1}',
         "its stock is reserved"),
        ("orders", "order-1", "OrderPlaced",
         '{"customer":"ada","item":"lamp","quantity":1,"amount":100}', "wrong: 1: "),
        ("orders", "saga.order-1", "SagaCompleted", "{}", "wrong: saga.order-1: "),
    ]
    for service, stream, kind, data, words in mistakes:
        s.shell("rm -rf copy && mkdir copy && cp -r *-data copy/")
        s.run("--store", f"copy/{service}-data", "append", stream, "--type", kind, "--data", data)
        ended = s.shell(f"cd copy && {PROGRAMS}/orders check orders-data payments-data inventory-data",
                        code=1)
        has(ended.out, words)


main(sys.modules[__name__])
