# Completion of stele(1) for fish. Names of streams, types, categories and tags come from the store that
# the command line names.

set -g __stele_commands append read tail streams info meta delete import export verify digest scavenge project run serve user cluster bench version help

# The command of the command line that is being written; nothing if there is none yet.
function __stele_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -s --store
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return
        end
        set -e words[1]
    end
end

function __stele_is
    contains -- (__stele_command) $argv
end

function __stele_none
    test -z (__stele_command)
end

# __stele_names [OPTION…]: what `stele streams` lists.
function __stele_names
    set -l words (commandline -opc)
    set -l store
    for i in (seq (count $words))
        if contains -- $words[$i] -s --store
            set store --store $words[(math $i + 1)]
        end
    end
    stele streams $argv --limit 200 --json $store -- (commandline -ct) 2>/dev/null |
        string replace -rf '^\{"name":"([^"\\\\]*)".*' '$1'
end

complete -c stele -f
complete -c stele -s s -l store -x -a '(__fish_complete_directories)' -d 'the store’s directory'
complete -c stele -l json -d 'JSON for programs'
complete -c stele -s h -l help -d 'explain the command'

complete -c stele -n __stele_none -a append -d 'Append events to a stream'
complete -c stele -n __stele_none -a read -d 'Read the events of a stream'
complete -c stele -n __stele_none -a tail -d 'Follow a stream'
complete -c stele -n __stele_none -a streams -d 'List streams'
complete -c stele -n __stele_none -a info -d 'Show facts about the store'
complete -c stele -n __stele_none -a meta -d 'Show or change the metadata of a stream: limits'
complete -c stele -n __stele_none -a delete -d 'Hide the events of a stream'
complete -c stele -n __stele_none -a import -d 'Append events of many streams from JSON lines or CloudEvents'
complete -c stele -n __stele_none -a export -d 'Write events as JSON lines'
complete -c stele -n __stele_none -a verify -d 'Read everything and check that it is what was written'
complete -c stele -n __stele_none -a digest -d 'Print a digest of all history'
complete -c stele -n __stele_none -a scavenge -d 'Reclaim the space of events that were deleted or are beyond their limits'
complete -c stele -n __stele_none -a serve -d 'Serve the store to clients over the network'
complete -c stele -n __stele_none -a project -d 'Keep read models in a database up to date'
complete -c stele -n __stele_none -a run -d 'Run everything that a file declares: projections'
complete -c stele -n __stele_none -a user -d 'Look after the users of a store'
complete -c stele -n __stele_none -a cluster -d 'Make nodes of a cluster, and look after them'
complete -c stele -n __stele_none -a bench -d 'Measures how fast a store is on this machine and this disk'
complete -c stele -n __stele_none -a version -d 'Show the version'
complete -c stele -n __stele_none -a help -d 'Explain a command or a topic'

complete -c stele -n '__stele_is append' -l type -x -a '(__stele_names --types)' -d 'what happened'
complete -c stele -n '__stele_is append' -l data -x -d 'the event’s data'
complete -c stele -n '__stele_is append' -l data-file -r -F -d 'the event’s data from a file or standard input'
complete -c stele -n '__stele_is append' -l content-type -x -d 'what the data is (default'
complete -c stele -n '__stele_is append' -l metadata -x -d 'about the event'
complete -c stele -n '__stele_is append' -l tag -x -a '(__stele_names --tags)' -d 'a name that conditions and filters ask for'
complete -c stele -n '__stele_is append' -l id -x -d 'the event’s id (default'
complete -c stele -n '__stele_is append' -l created -x -d 'when it happened (default'
complete -c stele -n '__stele_is append' -l expect -x -a 'any none exists' -d 'where the stream must be'
complete -c stele -n '__stele_is append' -l fail-if-type -x -a '(__stele_names --types)' -d 'condition'
complete -c stele -n '__stele_is append' -l fail-if-tag -x -a '(__stele_names --tags)' -d 'condition'
complete -c stele -n '__stele_is append' -l fail-if -x -d 'condition with alternatives'
complete -c stele -n '__stele_is append' -l after -x -d 'conditions'
complete -c stele -n '__stele_is append' -l batch -x -d 'from standard input'
complete -c stele -n '__stele_is read' -l from -x -a 'start end' -d 'begin at this revision of a stream'
complete -c stele -n '__stele_is read' -l limit -x -d 'at most so many events'
complete -c stele -n '__stele_is read' -l backwards -d 'from the newest to the oldest'
complete -c stele -n '__stele_is read' -l as-of -x -d 'nothing newer than this'
complete -c stele -n '__stele_is read' -l type -x -a '(__stele_names --types)' -d 'only events of this type'
complete -c stele -n '__stele_is read' -l prefix -x -d 'only types that begin with P'
complete -c stele -n '__stele_is read' -l regex -x -d 'only types in which this regular expression (PCRE2) is found'
complete -c stele -n '__stele_is read' -l stream -x -a '(__stele_names)' -d 'only events of this stream'
complete -c stele -n '__stele_is read' -l stream-prefix -x -d 'only streams whose names begin with P'
complete -c stele -n '__stele_is read' -l stream-regex -x -d 'only streams in whose names this regular expression is found'
complete -c stele -n '__stele_is read' -l category -x -a '(__stele_names --categories)' -d 'only streams of this category'
complete -c stele -n '__stele_is read' -l tag -x -a '(__stele_names --tags)' -d 'only events that have this tag'
complete -c stele -n '__stele_is read' -l exclude-system -d 'no types and streams that begin with $'
complete -c stele -n '__stele_is read' -l ignore-limits -d 'also events that a delete or the stream’s metadata hides'
complete -c stele -n '__stele_is read' -l token -x -d 'see at least the append that gave this causal token'
complete -c stele -n '__stele_is read' -l skip-damage -d 'tell damage and go on behind it'
complete -c stele -n '__stele_is read' -l long -d 'everything about every event'
complete -c stele -n '__stele_is read' -l cloudevents -d 'CloudEvents 1.0'
complete -c stele -n '__stele_is read' -l raw -d 'the data alone'
complete -c stele -n '__stele_is tail' -l from -x -a 'start end' -d 'begin at this revision of a stream'
complete -c stele -n '__stele_is tail' -l limit -x -d 'end after so many events'
complete -c stele -n '__stele_is tail' -l timeout -x -d 'end when nothing has come for so long'
complete -c stele -n '__stele_is tail' -l type -x -a '(__stele_names --types)' -d 'only events of this type'
complete -c stele -n '__stele_is tail' -l prefix -x -d 'only types that begin with P'
complete -c stele -n '__stele_is tail' -l regex -x -d 'only types in which this regular expression (PCRE2) is found'
complete -c stele -n '__stele_is tail' -l stream -x -a '(__stele_names)' -d 'only events of this stream'
complete -c stele -n '__stele_is tail' -l stream-prefix -x -d 'only streams whose names begin with P'
complete -c stele -n '__stele_is tail' -l stream-regex -x -d 'only streams in whose names this regular expression is found'
complete -c stele -n '__stele_is tail' -l category -x -a '(__stele_names --categories)' -d 'only streams of this category'
complete -c stele -n '__stele_is tail' -l tag -x -a '(__stele_names --tags)' -d 'only events that have this tag'
complete -c stele -n '__stele_is tail' -l exclude-system -d 'no types and streams that begin with $'
complete -c stele -n '__stele_is tail' -l ignore-limits -d 'also events that a delete or the stream’s metadata hides'
complete -c stele -n '__stele_is tail' -l long -d 'everything about every event'
complete -c stele -n '__stele_is tail' -l cloudevents -d 'CloudEvents 1.0'
complete -c stele -n '__stele_is streams' -l categories -d 'categories instead of streams'
complete -c stele -n '__stele_is streams' -l types -d 'event types instead of streams'
complete -c stele -n '__stele_is streams' -l tags -d 'tags instead of streams'
complete -c stele -n '__stele_is streams' -l limit -x -d 'at most so many names'
complete -c stele -n '__stele_is streams' -l after -x -d 'only names that come after this one'
complete -c stele -n '__stele_is meta' -l max-age -x -d 'hide events older than this'
complete -c stele -n '__stele_is meta' -l max-count -x -d 'hide all but the newest N events'
complete -c stele -n '__stele_is meta' -l truncate-before -x -d 'hide events before this revision'
complete -c stele -n '__stele_is meta' -l cache-control -x -d 'how long HTTP answers may be cached'
complete -c stele -n '__stele_is meta' -l acl -x -d 'who may do what'
complete -c stele -n '__stele_is meta' -l expect -x -a 'any none exists' -d 'the revision that the metadata must be at'
complete -c stele -n '__stele_is delete' -l tombstone -d 'close the stream for ever'
complete -c stele -n '__stele_is delete' -l expect -x -a 'any none exists' -d 'where the stream must be'
complete -c stele -n '__stele_is import' -l batch -x -d 'at most so many events in one append (default'
complete -c stele -n '__stele_is export' -l from -x -a 'start end' -d 'begin at this position or time'
complete -c stele -n '__stele_is export' -l as-of -x -d 'nothing newer than this'
complete -c stele -n '__stele_is export' -l limit -x -d 'at most so many events'
complete -c stele -n '__stele_is export' -l type -x -a '(__stele_names --types)' -d 'only events of this type'
complete -c stele -n '__stele_is export' -l prefix -x -d 'only types that begin with P'
complete -c stele -n '__stele_is export' -l regex -x -d 'only types in which this regular expression (PCRE2) is found'
complete -c stele -n '__stele_is export' -l stream -x -a '(__stele_names)' -d 'only events of this stream'
complete -c stele -n '__stele_is export' -l stream-prefix -x -d 'only streams whose names begin with P'
complete -c stele -n '__stele_is export' -l stream-regex -x -d 'only streams in whose names this regular expression is found'
complete -c stele -n '__stele_is export' -l category -x -a '(__stele_names --categories)' -d 'only streams of this category'
complete -c stele -n '__stele_is export' -l tag -x -a '(__stele_names --tags)' -d 'only events that have this tag'
complete -c stele -n '__stele_is export' -l exclude-system -d 'no types and streams that begin with $'
complete -c stele -n '__stele_is export' -l skip-damage -d 'tell damage and go on behind it'
complete -c stele -n '__stele_is export' -l cloudevents -d 'CloudEvents 1.0 instead of Stele’s JSON lines'
complete -c stele -n '__stele_is verify' -l against -x -d 'a digest that `stele digest` or `stele verify` gave earlier'
complete -c stele -n '__stele_is scavenge' -l rate -x -d 'read and write at most so many megabytes a second'
# settings: made by tools/settings
complete -c stele -n '__stele_is serve' -l config -r -d 'a YAML file of settings'
complete -c stele -n '__stele_is serve' -l print-config -d 'show every setting and where it comes from'
complete -c stele -n '__stele_is serve' -l listen -x -d 'where to listen'
complete -c stele -n '__stele_is serve' -l port -x -d 'the port of addresses that name none'
complete -c stele -n '__stele_is serve' -l advertise-host -x -d 'what clients are told to connect to'
complete -c stele -n '__stele_is serve' -l advertise-port -x -d 'the port that clients are told'
complete -c stele -n '__stele_is serve' -l insecure -d 'no users, no passwords, plain text on every address'
complete -c stele -n '__stele_is serve' -l tls-certificate -r -d 'the server’s certificate in PEM, with those between it and the root'
complete -c stele -n '__stele_is serve' -l tls-key -r -d 'its private key in PEM'
complete -c stele -n '__stele_is serve' -l tls-client-ca -r -d 'who may sign clients’ certificates'
complete -c stele -n '__stele_is serve' -l tls-client-required -d 'clients without a certificate are refused'
complete -c stele -n '__stele_is serve' -l cluster-certificate -r -d 'the certificate by which other nodes know this one, in PEM'
complete -c stele -n '__stele_is serve' -l cluster-key -r -d 'its private key in PEM'
complete -c stele -n '__stele_is serve' -l cluster-ca -r -d 'who signs the certificates of the cluster’s nodes, and nobody else’s'
complete -c stele -n '__stele_is serve' -l cluster-election -x -d 'how long nothing is heard of a leader before another node wants to lead'
complete -c stele -n '__stele_is serve' -l cluster-heartbeat -x -d 'how often a leader is heard of when there is nothing else to say'
complete -c stele -n '__stele_is serve' -l cluster-listen -x -d 'where to listen for other nodes'
complete -c stele -n '__stele_is serve' -l cluster-features -x -d 'how many of the newer features of clusters are taken as known'
complete -c stele -n '__stele_is serve' -l anonymous-streams -d '"$all" in an access list stands for callers without credentials, too'
complete -c stele -n '__stele_is serve' -l jwt-keys -r -d 'keys that sign bearer tokens'
complete -c stele -n '__stele_is serve' -l jwt-audience -x -d 'what "aud" of a token has to have'
complete -c stele -n '__stele_is serve' -l jwt-issuer -x -d 'what "iss" of a token has to be'
complete -c stele -n '__stele_is serve' -l jwt-roles -x -d 'the claim of a token that lists its groups'
complete -c stele -n '__stele_is serve' -l password-memory -x -d 'memory that hashing one password takes'
complete -c stele -n '__stele_is serve' -l password-passes -x -d 'how often hashing a password goes through it'
complete -c stele -n '__stele_is serve' -l login-lifetime -x -d 'how long checked credentials are remembered'
complete -c stele -n '__stele_is serve' -l login-failures-max -x -d 'wrong passwords in a row from one address before it has to wait'
complete -c stele -n '__stele_is serve' -l login-failures-refill -x -d 'after this time one more is allowed'
complete -c stele -n '__stele_is serve' -l audit-rate -x -d 'most events a second in the stream $stele-audit'
complete -c stele -n '__stele_is serve' -l user-requests-max -x -d 'requests a second of one user, a second’s worth at once'
complete -c stele -n '__stele_is serve' -l user-bytes-max -x -d 'bytes a second of one user’s requests and answers'
complete -c stele -n '__stele_is serve' -l user-calls-max -x -d 'calls and subscriptions of one user at once'
complete -c stele -n '__stele_is serve' -l user-memory -x -d 'of one user’s requests that are not whole yet'
complete -c stele -n '__stele_is serve' -l output-memory -x -d 'answers that clients do not take'
complete -c stele -n '__stele_is serve' -l threads -x -d 'threads that serve connections'
complete -c stele -n '__stele_is serve' -l connections-max -x -d 'connections at once'
complete -c stele -n '__stele_is serve' -l calls-max -x -d 'calls at once on one connection'
complete -c stele -n '__stele_is serve' -l header-size-max -x -d 'all headers of one request'
complete -c stele -n '__stele_is serve' -l handshake-timeout -x -d 'from a connection’s first byte until TLS is agreed'
complete -c stele -n '__stele_is serve' -l header-timeout -x -d 'until the headers of a request are whole'
complete -c stele -n '__stele_is serve' -l idle-timeout -x -d 'a connection without a call is closed after this'
complete -c stele -n '__stele_is serve' -l keepalive-interval -x -d 'silence after which a client is asked whether it is still there'
complete -c stele -n '__stele_is serve' -l keepalive-timeout -x -d 'without an answer for so long it is taken for gone'
complete -c stele -n '__stele_is serve' -l drain-timeout -x -d 'at the end'
complete -c stele -n '__stele_is serve' -l append-size-max -x -d 'one append with all of its events'
complete -c stele -n '__stele_is serve' -l event-size-max -x -d 'data and metadata of one event'
complete -c stele -n '__stele_is serve' -l partitions -x -d 'of a store that is made'
complete -c stele -n '__stele_is serve' -l segment-size-max -x -d 'one file of the log'
complete -c stele -n '__stele_is serve' -l index-memory -x -d 'events in memory before their index is written to disk'
complete -c stele -n '__stele_is serve' -l compress -d 'files of the log that are full are compressed'
complete -c stele -n '__stele_is serve' -l scrub-period -x -d 'every stored byte is checked once in so many days'
complete -c stele -n '__stele_is serve' -l log-level -x -a 'debug info warning error' -d 'what is logged'
complete -c stele -n '__stele_is serve' -l log-format -x -a 'auto text json' -d 'auto'
complete -c stele -n '__stele_is serve' -l no-sandbox -d 'do without the filter of system calls and the bounds of file access'
# end of settings
complete -c stele -n '__stele_is project' -l into -r -d 'the database: a file, or postgresql://…'
complete -c stele -n '__stele_is project' -l once -d 'run: end when everything that is there is done'
complete -c stele -n '__stele_is project' -l as-of -x -d 'run: nothing newer than this, into a fresh database'
complete -c stele -n '__stele_is project' -l follow -d 'rebuild: go on with what comes after the switch'
complete -c stele -n '__stele_is project' -l lanes -x -d 'connections that work side by side'
complete -c stele -n '__stele_is project' -l batch -x -d 'events of one transaction at most'
complete -c stele -n '__stele_is project' -l effects -d 'run: side effects also for history'
complete -c stele -n '__stele_is project' -l position -x -d 'wait: until this'
complete -c stele -n '__stele_is project' -l timeout -x -d 'wait: at most so long'
complete -c stele -n '__stele_is project' -a 'run rebuild status wait park drop'
complete -c stele -n '__stele_is run' -l once -d 'end when everything that is there is done'
complete -c stele -n '__stele_is user' -l group -x -d 'add: a group of the user'
complete -c stele -n '__stele_is user' -l full-name -x -d 'add: what people call the user'
complete -c stele -n '__stele_is user' -l random -d 'add, passwd: make the password and print it'
complete -c stele -n '__stele_is user' -a 'list add passwd delete enable disable'

complete -c stele -n '__stele_is cluster' -l name -x -d 'what the node is called'
complete -c stele -n '__stele_is cluster' -l address -x -d 'where other nodes reach it, and where it listens for them'
complete -c stele -n '__stele_is cluster' -l client -x -d 'where clients reach it, until it has been served once'
complete -c stele -n '__stele_is cluster' -l zone -x -d 'what fails together: a rack, a building'
complete -c stele -n '__stele_is cluster' -l partitions -x -d 'of a new cluster, for ever (16)'
complete -c stele -n '__stele_is cluster' -l seed -x -d 'join, repair: the address of a node that is there'
complete -c stele -n '__stele_is cluster' -l replace -x -d 'join: in the place of this node, which is lost'
complete -c stele -n '__stele_is cluster' -l events -d 'check: compare what is stored on all nodes, event by event'
complete -c stele -n '__stele_is cluster' -l yes -d 'do what is shown'
complete -c stele -n '__stele_is cluster' -l timeout -x -d 'drain: how long to wait until it leads nothing (60s)'
complete -c stele -n '__stele_is cluster' -a 'init join status check drain undrain remove transfer replace set'
complete -c stele -n '__stele_is bench' -l seconds -x -d 'how long each workload is measured (3)'
complete -c stele -n '__stele_is bench' -l warmup -x -d 'how long it runs before that (0.5)'
complete -c stele -n '__stele_is bench' -l events -x -d 'events of the filled store (1000000)'
complete -c stele -n '__stele_is bench' -l streams -x -d 'streams to append to and to read (10000)'
complete -c stele -n '__stele_is bench' -l size -x -d 'data of an event (200)'
complete -c stele -n '__stele_is bench' -l zipf -d 'the k-th stream is chosen 1/k as often as the first'
complete -c stele -n '__stele_is bench' -l threads -x -d 'of the workload append (8)'
complete -c stele -n '__stele_is bench' -l in-flight -x -d 'of the workloads async and spread (256)'
complete -c stele -n '__stele_is bench' -l batch -x -d 'events an append'
complete -c stele -n '__stele_is bench' -l fill-batch -x -d 'events an append while filling'
complete -c stele -n '__stele_is bench' -l partitions -x -d 'of new stores (128)'
complete -c stele -n '__stele_is bench' -l keep -d 'leave the stores where they are'

complete -c stele -n '__stele_is append read tail info meta delete streams' -a '(__stele_names)'
complete -c stele -n '__stele_is meta' -a 'get set'
complete -c stele -n '__stele_is import' -F
complete -c stele -n '__stele_is help' -a "$__stele_commands exit-codes json-lines cloudevents times limits environment"
