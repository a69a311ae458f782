package compose

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// rules are what is read, the most telling first. At each word the longest phrase counts.
var rules = compileRules(append(whereRules(), []rule{
	// ---- what is watched
	{subject: true, patterns: []string{"<fork>"}, // before the system call, which libraries do not make
		do: func(a *ask, v map[string]value, said string) error { return a.setSubject(subject{"thing", "forks"}) }},
	{subject: true, patterns: []string{"@of? all? every? any? the? syscall|call? <call> @calls?", "@of? the? system call <call> @calls?", "the? @calls of|to <call>"},
		do: func(a *ask, v map[string]value, said string) error {
			low := strings.ToLower(said)
			a.literal = strings.Contains(low, "syscall") || strings.Contains(low, "system call") || strings.Contains(low, "sys_enter_")
			return a.setSubject(subject{"call", v["call"].word})
		}},
	{subject: true, patterns: []string{"@of? all? every? any? the? event|tracepoint? <tracepoint> event|events|tracepoint?", "every|each event of <tracepoint>"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"tracepoint", v["tracepoint"].word})
		}},
	{subject: true, measure: true, patterns: []string{"from <tracepoint> to|until|till <end>", "between <tracepoint> and <end>", "time|latency|duration|delay|how long? from <tracepoint> to|until|till <end>", "time|latency|duration|delay between <tracepoint> and <end>", "how long is? it? takes? from <tracepoint> to|until|till <end>"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf(duration, said); err != nil {
				return err
			}
			return a.setSubject(subject{"pair", v["tracepoint"].word + " " + v["end"].word})
		}},
	{subject: true, patterns: []string{"events|tracepoints of|in the? group|subsystem? <group> group|subsystem?", "<group> events|tracepoints", "all <group> events|tracepoints"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"group", v["group"].word})
		}},
	{subject: true, patterns: []string{"@of? the? kernel? function <function>", "@of? <function> @calls?", "@calls of|to the? kernel? function? <function>"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"function", v["function"].word})
		}},

	{subject: true, patterns: []string{"processes|children|subprocesses are? forked|spawned", "processes|children|subprocesses that|which are forked|spawned|created", "forked|spawned processes|children|subprocesses", "forks", "process forks|creations", "child processes", "children",
		"new processes forked|spawned", "child processes it|they|each creates|create|spawns|spawn|forks|fork|starts|start", "children it|they creates|create|spawns|spawn|forks|fork", "who|that|which forks|forked", "spawns|forks|creates children|processes"},
		do: func(a *ask, v map[string]value, said string) error { return a.setSubject(subject{"thing", "forks"}) }},
	{subject: true, key: true, patterns: []string{"child processes|children each|every process|program|parent creates|spawns|forks|starts", "child processes per|by process|parent", "children per|by process|parent"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{"process", said})
			return a.setSubject(subject{"thing", "forks"})
		}},
	{subject: true, patterns: []string{"processes does|do|did <name> create|creates|spawn|spawns|fork|forks", "child processes does|do|did <name> create|creates|spawn|spawns|fork|forks|start", "children does|do|did <name> create|spawn|fork|have"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setText(&a.comm, "process", v["name"].word); err != nil {
				return err
			}
			return a.setSubject(subject{"thing", "forks"})
		}},
	{subject: true, patterns: []string{"files|file are|is|being|get|got|gets? created", "files|file that|which are|is|were|was|get|got created", "created|new files", "file creation|creations|creates", "who|that|which|what creates|create|created files", "creates files", "creation of files",
		"files does|do|did a|any|every|each|all? process|processes|program|programs create|creates|make|makes"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"thing", "created files"})
		}},
	{subject: true, patterns: []string{"files does|do|did <name> create|creates|make|makes"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setText(&a.comm, "process", v["name"].word); err != nil {
				return err
			}
			return a.setSubject(subject{"thing", "created files"})
		}},
	{subject: true, patterns: []string{"ip? <ipproto>? packets|packet"},
		do: func(a *ask, v map[string]value, said string) error { return a.packets("", v) }},
	{subject: true, patterns: []string{"outgoing|outbound|egress|sent|tx <ipproto>? packets", "<ipproto>? packets sent|transmitted|leaving", "<ipproto>? packets that|which are sent|transmitted", "<ipproto>? packets that|which leave"},
		do: func(a *ask, v map[string]value, said string) error { return a.packets("sent", v) }},
	{subject: true, patterns: []string{"incoming|inbound|ingress|received|rx <ipproto>? packets", "<ipproto>? packets received|arriving", "<ipproto>? packets that|which are received", "<ipproto>? packets that|which arrive"},
		do: func(a *ask, v map[string]value, said string) error { return a.packets("received", v) }},
	{subject: true, measure: true, patterns: []string{"tcp|udp bytes|data|traffic|payload sent|transmitted", "bytes|data sent|transmitted by|over|via|through|with tcp|udp", "sent|transmitted|outgoing|tx tcp|udp bytes|data|traffic", "tcp|udp tx|send|sent|outgoing bytes|data|traffic|volume", "tx|sent|outgoing bytes|data|traffic over|via|through|with|in|on tcp|udp"},
		do: func(a *ask, v map[string]value, said string) error { return a.socketBytes(said, "sent") }},
	{subject: true, measure: true, patterns: []string{"tcp|udp bytes|data|traffic|payload received", "bytes|data received by|over|via|through|with tcp|udp", "received|incoming|rx tcp|udp bytes|data|traffic", "tcp|udp rx|recv|receive|received|incoming bytes|data|traffic|volume", "rx|received|incoming bytes|data|traffic over|via|through|with|in|on tcp|udp"},
		do: func(a *ask, v map[string]value, said string) error { return a.socketBytes(said, "received") }},
	{subject: true, patterns: []string{"tcp|udp bytes|data|traffic|throughput|bandwidth|volume", "bytes|traffic over|via|through|by tcp|udp",
		"tcp|udp bytes|data|traffic|payload sent|transmitted|received and|or|& sent|transmitted|received", "sent|transmitted|received and|or|& sent|transmitted|received tcp|udp bytes|data|traffic"},
		do: func(a *ask, v map[string]value, said string) error {
			return no("it does not say whether what is sent or what is received is meant (%q); ask for one after the other", said)
		}},
	{weak: true, patterns: []string{"threads dont|don't|don|do not? count", "new? threads are no|not children|processes|counted", "without|no|not new? threads", "not counting threads", "threads not counted|included", "threads excluded"},
		do: func(a *ask, v map[string]value, said string) error { a.noThreads = true; return nil }},

	// ---- how it is shown
	{form: true, patterns: []string{"how often", "how many times", "how many", "how frequently", "number of", "the? count of", "counts of", "count", "counts", "counted", "as a count", "as counts", "tally", "total number of", "how frequent"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(count) }},
	{form: true, patterns: []string{"the? rate|rates|frequency of"},
		do: func(a *ask, v map[string]value, said string) error { a.rate = true; return a.setForm(count) }},
	{form: true, patterns: []string{"as? a? histogram|histograms|distribution of?", "histogram of the?", "distribution of the?"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(hist) }},
	{measure: true, form: true, patterns: []string{"as? a? latency|duration histogram|histograms|distribution of?", "histogram|distribution of the? latency|latencies|duration|durations of?", "how long @does?", "as? a? histogram of how long @does?", "as? a? histogram of how long it|they takes|take", "how long it|they takes|take|took"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf(duration, said); err != nil {
				return err
			}
			if strings.HasPrefix(strings.ToLower(said), "how") {
				if a.form == unsaid {
					a.form, a.loose = hist, true
				}
				return nil
			}
			return a.setForm(hist)
		}},
	{form: true, patterns: []string{"on average", "average|mean|avg", "the? average|mean of", "statistics of", "as statistics", "maximum|max|highest|largest|biggest", "the maximum of", "min|minimum|smallest"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(stats) }},
	{measure: true, form: true, patterns: []string{"average|mean|avg|maximum|max|minimum|min duration|latency|time of|in|spent? in?", "average|mean|avg|maximum|max|minimum|min duration|latency|time", "longest|shortest|slowest|fastest", "longest|shortest duration|time", "time spent in|on?", "how much time does|do|did <name> spend in|on|with", "how much time is spent in", "total time spent? in?"},
		do: func(a *ask, v map[string]value, said string) error {
			if n := v["name"].word; n != "" {
				if err := a.setText(&a.comm, "process", n); err != nil {
					return err
				}
			}
			if err := a.setOf(duration, said); err != nil {
				return err
			}
			return a.setForm(stats)
		}},
	{measure: true, form: true, patterns: []string{"the? @pct of? the? latency|latencies|duration|durations|time|times of?", "the? latency|duration|time @pct of?", "the? @pct of how long @does?"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf(duration, said); err != nil {
				return err
			}
			return a.setForm(hist)
		}},
	{form: true, patterns: []string{"the? @pct of?", "as? @pct"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(hist) }},
	{form: true, patterns: []string{"sum of the?", "total of the?", "the sum of", "summed up?", "total", "in total", "added up"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(sum) }},
	{form: true, patterns: []string{"as a list", "one line each", "as single events", "individually", "one by one", "as events", "line by line", "list them", "each of them", "list each"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(list) }},
	{weak: true, patterns: []string{"break down", "breakdown of", "i|we want|wanna to? know|see", "i|we would|'d? like to know|see", "i|we need to know|see"}, do: func(a *ask, v map[string]value, said string) error { return nil }},
	{weak: true, patterns: []string{"trace|list|show|log|print|record every|each|all?", "every|each", "who is|are|was? @verb", "who @verb", "with their|the|its|all arguments", "and their arguments", "with arguments", "with their|its|the results|result|duration|arguments", "is|are anyone|anybody|somebody|someone|something @verb"},
		do: func(a *ask, v map[string]value, said string) error { a.shape = "list"; return nil }},
	{form: true, patterns: []string{"top <n>", "the? top <n>", "the <n> busiest|biggest|largest|heaviest"},
		do: func(a *ask, v map[string]value, said string) error { return a.setTop(v["n"]) }},
	{form: true, key: true, patterns: []string{"the? top <n> <key> of|by|for|in number|count? of?", "the? top <n> <key>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{v["key"].word, said})
			return a.setTop(v["n"])
		}},
	{patterns: []string{"per|each|a second", "every second", "per|each|a minute", "every minute", "every <dur>", "in intervals of <dur>", "every <dur> again"},
		do: func(a *ask, v map[string]value, said string) error {
			d := v["dur"].dur
			if d == 0 {
				d = time.Second
				if said[len(said)-1] == 'e' { // minute
					d = time.Minute
				}
			}
			if d < 100*time.Millisecond || d > time.Hour {
				return &NoError{Why: fmt.Sprintf("an interval of %s: want 100ms to 1h", d)}
			}
			a.every = d
			return nil
		}},
	{patterns: []string{"for <dur>", "for the next <dur>", "for another <dur>", "during the next <dur>", "for about <dur>", "in|within|over the next <dur>", "the next <dur>", "<rundur>"},
		do: func(a *ask, v map[string]value, said string) error {
			d := v["dur"].dur + v["rundur"].dur
			if d < time.Second {
				return &NoError{Why: fmt.Sprintf("%q is shorter than a run can be", said)}
			}
			a.dur = d
			return nil
		}},

	// ---- what is measured
	{measure: true, patterns: []string{"latency|latencies|duration|durations of?", "time", "the time", "time taken by?", "run time of?"},
		do: func(a *ask, v map[string]value, said string) error { return a.setOf(duration, said) }},
	{measure: true, patterns: []string{"the? <field> argument|field|value of|in|to?", "the? argument|field <field> of?", "of the? <field> argument|field of?"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setOf("."+v["field"].word+v["arg"].word, said)
		}},
	{measure: true, form: true, patterns: []string{"sum|total of the? <field> of|in|at", "total <arg> of|in|at", "sum|total of the? <field> argument|field|value of|in?"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf("."+v["field"].word+v["arg"].word, said); err != nil {
				return err
			}
			return a.setForm(sum)
		}},
	{measure: true, form: true, patterns: []string{"as? a? histogram|distribution of the? <field> argument|field|value of|in?", "as? a? histogram|distribution of the? <field> of|in|at", "as? a? histogram|distribution of the? argument|field <field> of|in?"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf("."+v["field"].word+v["arg"].word, said); err != nil {
				return err
			}
			return a.setForm(hist)
		}},
	{measure: true, form: true, patterns: []string{"average|mean|maximum|max|largest|smallest of? the? <field> of|in|at", "average|mean|maximum|max|largest|smallest of? the? <field> argument|field|value of|in?"},
		do: func(a *ask, v map[string]value, said string) error {
			if err := a.setOf("."+v["field"].word+v["arg"].word, said); err != nil {
				return err
			}
			return a.setForm(stats)
		}},
	{measure: true, patterns: []string{"the? bytes returned by?", "the? bytes written|read|sent|received|transferred with|by|via|through|in", "the? returned bytes of?", "the? return value|values of?", "the? result of", "what <call> returns"},
		do: func(a *ask, v map[string]value, said string) error { return a.setOf(result, said) }},
	{measure: true, patterns: []string{"bytes", "size|sizes of?", "number of bytes"},
		do: func(a *ask, v map[string]value, said string) error { return a.setOf(bytes, said) }},

	// ---- what rows are for
	{key: true, patterns: []string{"@by <key> name|names"},
		do: func(a *ask, v map[string]value, said string) error { a.addKey(key{v["key"].word, said}); return nil }},
	{key: true, patterns: []string{"@by <key> number|numbers"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{v["key"].word, strings.TrimSuffix(strings.TrimSuffix(said, "s"), " number")})
			return nil
		}},
	{key: true, patterns: []string{"@by the process|program|parent that|which forks|spawns|creates|does|did it|them|this|so?"},
		do: func(a *ask, v map[string]value, said string) error { a.addKey(key{"process", said}); return nil }},
	{key: true, patterns: []string{"@by <key>", "@by <key> instead", "@by <key> separately", "counted by <key>"},
		do: func(a *ask, v map[string]value, said string) error { a.addKey(key{v["key"].word, said}); return nil }},
	{key: true, patterns: []string{"@by <key> and|& per|by? <other>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{v["key"].word, said})
			a.addKey(key{v["other"].word, said})
			return nil
		}},
	{form: true, key: true, which: true, patterns: []string{"which|what processes|process|programs|program @verb", "which|what processes|process|programs|program", "which|what process is|are @verb"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{"process", said})
			return a.setForm(count)
		}},
	{form: true, key: true, patterns: []string{"which|what ones|one? and|& how often|many", "which|what ones|one? and|& how many times"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{"which", said})
			return a.setForm(count)
		}},
	{weak: true, patterns: []string{"by whom", "and by whom", "and who does it|so|that", "and who"}, do: func(a *ask, v map[string]value, said string) error { a.shape = "list"; return nil }},
	{form: true, key: true, which: true, patterns: []string{"which|what pods|containers|pod|container @verb", "which|what pods|containers|pod|container"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{"cgroup", said})
			return a.setForm(count)
		}},
	{form: true, key: true, which: true, patterns: []string{"which|what users|user @verb", "which|what users|user"},
		do: func(a *ask, v map[string]value, said string) error {
			a.addKey(key{"user", said})
			return a.setForm(count)
		}},

	// ---- what is left out, and what alone is wanted
	{patterns: []string{"@over|@atleast <dur>", "taking|lasting @over|@atleast <dur>", "that|which take|takes|took|last|lasts|lasted @over|@atleast <dur>", "<dur> or more|longer|slower", "at least <dur>", "@over <dur> long?"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(duration, ">=", lasting(v["dur"].dur), said)
			return nil
		}},
	{patterns: []string{"@under <dur>", "@atmost <dur>", "taking|lasting @under|@atmost <dur>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(duration, "<", lasting(v["dur"].dur), said)
			return nil
		}},
	{patterns: []string{"with? @over <size>", "with? bytes|size|sizes @over <size>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(bytes, ">", sized(v["size"].n), said)
			return nil
		}},
	{patterns: []string{"with? @atleast <size>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(bytes, ">=", sized(v["size"].n), said)
			return nil
		}},
	{patterns: []string{"with? @under <size>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(bytes, "<", sized(v["size"].n), said)
			return nil
		}},
	{patterns: []string{"with|by? exit? code|status|value <n>", "with|by? exit code|status|value of? <n>", "with|by return code <n>"},
		do: func(a *ask, v map[string]value, said string) error {
			if v["n"].n > 255 {
				return no("%q is no exit code", said)
			}
			a.only("exitcode", "==", v["n"].word, said)
			return nil
		}},
	{patterns: []string{"with the|a|an? <field> of? @over <size>", "with the|a|an? <field> of? @over <n>", "<arg> @over <size>", "<arg> @over <n>", "where the? <field> is? @over <n>", "where the? <field> is? @over <size>"},
		do: func(a *ask, v map[string]value, said string) error { return a.compare(v, ">", said) }},
	{patterns: []string{"with the|a|an? <field> of? @atleast <size>", "with the|a|an? <field> of? @atleast <n>", "<arg> @atleast <n>", "<arg> @atleast <size>"},
		do: func(a *ask, v map[string]value, said string) error { return a.compare(v, ">=", said) }},
	{patterns: []string{"with the|a|an? <field> of? @under <size>", "with the|a|an? <field> of? @under <n>", "<arg> @under <size>", "<arg> of @under <size>", "<arg> of @under <n>", "<arg> @under <n>", "where the? <field> is? @under <n>"},
		do: func(a *ask, v map[string]value, said string) error { return a.compare(v, "<", said) }},
	{patterns: []string{"with <field> <n>", "with <field> =|==|of|is <n>", "<arg> =|== <n>", "where <field> is|=|== <n>", "with the? <field> <const>", "with <field> =|== <const>", "<arg> =|== <const>", "where <field> is|=|== <const>", "only <field> <const>"},
		do: func(a *ask, v map[string]value, said string) error { return a.compare(v, "==", said) }},
	{exclude: true, patterns: []string{"with <field> not|!= <n>", "<arg> != <n>", "where <field> is not <n>", "<arg> != <const>"},
		do: func(a *ask, v map[string]value, said string) error { return a.compare(v, "!=", said) }},
	{patterns: []string{"with|of|using|only the? flag|flags|option|advice|mode|command|cmd|op|operation|bit? <flags> set?", "with|of|using the? flag|flags|option|advice|mode|command|cmd|op|operation <suffix>", "<flags>", "with|of <const>", "only <const>", "using <const>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("constant", "==", v["const"].word+v["flags"].word+v["suffix"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not the? flag|flags|option|advice? <flags>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("constant", "!=", v["flags"].word, said)
			return nil
		}},
	{patterns: []string{"from|to|on|of|with|for|in|through|only the|its? fd|fds|descriptor number? <n>", "from|to|on|of|with|for|in|through|only the|its? file descriptor number? <n>", "fd|descriptor =|==|is? <n>", "file descriptor <n>", "from stdin", "to stdout", "to stderr"},
		do: func(a *ask, v map[string]value, said string) error {
			n := v["n"].n
			switch {
			case strings.HasSuffix(said, "stdout"):
				n = 1
			case strings.HasSuffix(said, "stderr"):
				n = 2
			}
			a.only(".fd", "==", strconv.FormatUint(n, 10), said)
			return nil
		}},
	{patterns: []string{"with|of|only the? signal|signo number? <n>", "with|of|only the? signal|signo =|== <n>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(".sig", "==", strconv.FormatUint(v["n"].n, 10), said)
			return nil
		}},
	{patterns: []string{"@failing"},
		do: func(a *ask, v map[string]value, said string) error { a.only(result, "<", "0", said); return nil }},
	{patterns: []string{"that succeed|succeeded", "successful", "which succeed|succeeded"},
		do: func(a *ask, v map[string]value, said string) error { a.only(result, ">=", "0", said); return nil }},
	{patterns: []string{"that|which? return|returns|returned|returning <errnos>", "that|which? fail|fails|failed|failing with <errnos>", "that|which? end|ends|ended|ending in|with <errnos>", "with error|errno|result? <errnos>", "only <errnos>", "<errnos>", "that|which get|gets|got <errnos>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("error", "==", v["errnos"].word, said)
			return nil
		}},
	{patterns: []string{"that|which? return|returns|returned|returning <n>", "with result <n>", "result =|== <n>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(".result", "==", strconv.FormatUint(v["n"].n, 10), said)
			return nil
		}},
	{subject: true, patterns: []string{"get|gets|got|getting|receive|receives? <errnos> from|of|in|on|by the? <call> @calls?", "<errnos> errors|results|returns from|of|in|on|by the? <call> @calls?"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("error", "==", v["errnos"].word, said)
			return a.setSubject(subject{"call", v["call"].word})
		}},
	{subject: true, patterns: []string{"@of? the? <call> errors|failures|error|failure with|of? <errnos>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("error", "==", v["errnos"].word, said)
			return a.setSubject(subject{"call", v["call"].word})
		}},
	{subject: true, patterns: []string{"@of? the? <call> errors|failures"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(result, "<", "0", said)
			return a.setSubject(subject{"call", v["call"].word})
		}},
	{subject: true, patterns: []string{"reads|read|reading from|on|of|with fd|descriptor <n>", "reads|read|reading from|on|of|with file descriptor <n>", "reads|read|reading from stdin"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(".fd", "==", strconv.FormatUint(v["n"].n, 10), said)
			return a.setSubject(subject{"call", "read"})
		}},
	{subject: true, patterns: []string{"writes|write|writing|written to|on|of|with fd|descriptor <n>", "writes|write|writing|written to|on|of|with file descriptor <n>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only(".fd", "==", strconv.FormatUint(v["n"].n, 10), said)
			return a.setSubject(subject{"call", "write"})
		}},
	{subject: true, patterns: []string{"sockets that|which? are? created", "created sockets", "socket creations", "sockets created", "who|that|which creates|create sockets"},
		do: func(a *ask, v map[string]value, said string) error { return a.setSubject(subject{"call", "socket"}) }},
	{exclude: true, patterns: []string{"@not @those? error? <errnos>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("error", "!=", v["errnos"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? signals? <signals>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("signal", "!=", v["signals"].word, said)
			return nil
		}},
	{patterns: []string{"only|with|of signals? <signals>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("signal", "==", v["signals"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? port|ports <ports>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("port", "!=", v["ports"].word, said)
			return nil
		}},
	{patterns: []string{"only? to|on|from|with? port|ports <ports>", "only port|ports <ports>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("port", "==", v["ports"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? <ips>", "@not @those? address|addresses|host|hosts <ips>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("address", "!=", v["ips"].word, said)
			return nil
		}},
	{patterns: []string{"only? to|from|with address|addresses|host|hosts? <ips>", "only <ips>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("address", "==", v["ips"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? <paths>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("path", "starts not", v["paths"].word, said)
			return nil
		}},
	{patterns: []string{"only? under|below|in <paths>", "only <paths>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("path", "starts", v["paths"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @whose? <names>", "@not @whose? processes? <names>"},
		do: func(a *ask, v map[string]value, said string) error {
			for name := range strings.SplitSeq(v["names"].word, ",") {
				a.only("comm", "!=", strconv.Quote(name), said)
			}
			return nil
		}},
	{exclude: true, patterns: []string{"@not @whose? <name> itself?", "that|which <name> did|does|do not @verb", "@not <name> processes"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("comm", "!=", strconv.Quote(v["name"].word), said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? pid|pids|process|processes <pids>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("pid", "!=", v["pids"].word, said)
			return nil
		}},
	{exclude: true, patterns: []string{"@not @those? user|uid <n>", "of? users? @not @those? root", "@not @those? user root"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("user", "!=", strconv.FormatUint(v["n"].n, 10), said)
			return nil
		}},
	{patterns: []string{"only|of|by|from|for|in process|processes|program|programs <names>", "only|of|by|from|for|in <programs>", "<leaders>"},
		do: func(a *ask, v map[string]value, said string) error {
			var names []string
			for name := range strings.SplitSeq(v["names"].word+v["programs"].word+v["leaders"].word, ",") {
				names = append(names, strconv.Quote(name))
			}
			a.only("comm", "==", strings.Join(names, ","), said)
			return nil
		}},
	{patterns: []string{"only? of|by|from|for? pid|pids|process|processes <twopids>", "only pids <twopids>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("pid", "==", v["twopids"].word, said)
			return nil
		}},
	{patterns: []string{"for|of the? host|name|domain|hostname? <host>", "only? host|hostname|domain <host>"},
		do: func(a *ask, v map[string]value, said string) error {
			a.only("host", "==", strconv.Quote(v["host"].word), said)
			return nil
		}},
	{task: true, patterns: []string{"of|by|from process|program? <name>", "by <program>", "of|by|from|for|in process|program <name>", "for|in <program>", "process|program <name>", "only process? <program>", "only process <name>", "<program>", "<program> processes", "does <name> @verb", "made|issued|called|done by <name>"},
		do: func(a *ask, v map[string]value, said string) error {
			name := v["name"].word
			if name == "" {
				name = v["program"].word
			}
			return a.setText(&a.comm, "process", name)
		}},
	{task: true, patterns: []string{"of|by|from|for|in? only? pid|process =? <n>", "of|by|from|for|in? only? process id <n>"},
		do: func(a *ask, v map[string]value, said string) error {
			if n := v["n"].n; n == 0 || n > 1<<22 {
				return &NoError{Why: fmt.Sprintf("%q is no process id", v["n"].text)}
			}
			return a.setText(&a.pid, "process id", strconv.FormatUint(v["n"].n, 10))
		}},
	{task: true, patterns: []string{"of|by|from|for? only? user|uid =? <n>", "of|by|from|for only? root", "of|by|from|for? only? user root"},
		do: func(a *ask, v map[string]value, said string) error {
			return a.setText(&a.uid, "user", strconv.FormatUint(v["n"].n, 10))
		}},
	{task: true, patterns: []string{"of|by|from|for? only? user <user>"},
		do: func(a *ask, v map[string]value, said string) error { return a.setText(&a.uid, "user", v["user"].word) }},
}...))

// refinements are read only in what changes a request before it.
var refinements = compileRules([]rule{
	{patterns: []string{"the same for|of|with <call>", "do|show the same for|with <call>", "what about <call>", "same for <call>", "for <call> instead"}, subject: true,
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"call", v["call"].word})
		}},
	{patterns: []string{"the same for <tracepoint>", "what about <tracepoint>"}, subject: true,
		do: func(a *ask, v map[string]value, said string) error {
			return a.setSubject(subject{"tracepoint", v["tracepoint"].word})
		}},
	{form: true, patterns: []string{"make it|that a list", "a list", "list", "just list them|it"},
		do: func(a *ask, v map[string]value, said string) error { return a.setForm(list) }},
	{patterns: []string{"again", "the same again", "once more", "run it again", "same again"},
		do: func(a *ask, v map[string]value, said string) error { a.again = true; return nil }},
})

// compiled is a rule with its patterns read.
type compiled struct {
	rule
	forms [][]element
}

func compileRules(list []rule) []compiled {
	out := make([]compiled, len(list))
	for i, r := range list {
		out[i].rule = r
		for _, p := range r.patterns {
			out[i].forms = append(out[i].forms, compile(p))
		}
	}
	return out
}

// socketBytes sets what processes send or receive by TCP or UDP as what is watched, in bytes.
func (a *ask) socketBytes(said, done string) error {
	protocol := "tcp"
	if strings.Contains(strings.ToLower(said), "udp") {
		protocol = "udp"
	}
	if err := a.setOf(bytes, said); err != nil {
		return err
	}
	return a.setSubject(subject{"thing", protocol + " " + done})
}

// transferred is sent or received where what is watched is that of processes, see socketBytes; else "".
func (a *ask) transferred() string {
	_, done, _ := strings.Cut(a.subject.name, " ")
	if a.subject.kind != "thing" || done != "sent" && done != "received" {
		return ""
	}
	return done
}

// packets sets packets as what is watched, of one way and of one protocol where these are said.
func (a *ask) packets(way string, v map[string]value) error {
	if way != "" {
		a.only(".way", "==", way, way)
	}
	if p := v["ipproto"]; p.word != "" {
		a.only(".protocol", "==", p.word, p.text)
	}
	return a.setSubject(subject{"thing", "packets"})
}

func (a *ask) setTop(n value) error {
	if n.n < 1 || n.n > 1000 {
		return &NoError{Why: fmt.Sprintf("a table has 1 to 1000 rows, not %s", n.text)}
	}
	a.top = int(n.n)
	return nil
}

// compare is a condition on a field that the request names.
func (a *ask) compare(v map[string]value, op, said string) error {
	is := strconv.FormatUint(v["n"].n, 10)
	field := v["field"].word + v["arg"].word
	switch {
	case v["size"].text != "":
		is = sized(v["size"].n)
	case v["const"].text != "":
		is = v["const"].word
	}
	a.only("."+field, op, is, said)
	return nil
}

// lasting writes a duration as contracts do.
func lasting(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

// sized writes a size as contracts do.
func sized(n uint64) string {
	for _, u := range []struct {
		unit uint64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n > 0 && n%u.unit == 0 {
			return strconv.FormatUint(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}
