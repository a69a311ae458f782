package recipes

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// heading says which way something next to the words before i points.
type heading int

const (
	nowhere heading = iota
	toward
	fromward
	atLocal
	atRemote
	receiving // like toward, but said by a verb that also has other meanings: "what errors does nginx get"
)

// headingBefore looks at the words before i, passing over articles and the
// nouns that name what follows.
func (r *reader) headingBefore(i int) heading {
	for j := i - 1; j >= 0 && j >= i-4; j-- {
		if r.words[j].ends {
			return nowhere
		}
		switch {
		case r.is(j, "to", "towards", "toward", "destination", "dest", "dst", "target", "into", "daddr", "dport"):
			return toward
		case r.is(j, "from", "source", "src", "by", "saddr", "sport", "origin", "originating"):
			return fromward
		case r.is(j, "local", "listening", "bound", "listen", "listens"):
			return atLocal
		case r.is(j, "remote", "peer"):
			return atRemote
		case slices.Contains([]string{"dial", "contact", "reach", "call"}, r.stem(j)) || r.is(j, "connects", "hits", "hitting", "connecting"):
			return toward
		case r.is(j, "the", "a", "an", "any", "my", "our", "tcp", "ip", "ipv4", "ipv6", "address", "addresses", "addr", "host", "hosts", "server", "machine", "port", "ports", "number", "is", "peer", "client", "clients"):
		default:
			return nowhere
		}
	}
	return nowhere
}

// addresses reads IPv4 and IPv6 addresses, with or without a port.
func (r *reader) addresses(i int) int {
	text := r.text(i)
	if len(text) < 3 || !strings.ContainsAny(text, ".:") || !strings.ContainsAny(text, "0123456789:") {
		return 0
	}
	role := map[heading]Role{nowhere: RoleAddress, toward: RoleDestAddress, fromward: RoleSourceAddress, atLocal: RoleAddress, atRemote: RoleAddress}[r.headingBefore(i)]
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if prefix, err := netip.ParsePrefix(bare); err == nil {
		if prefix.IsSingleIP() {
			return r.take(i, i, i+1, value(role, prefix.Addr().Unmap().String()))
		}
		return r.take(i, i, i+1, value(roleSubnet, prefix.String()))
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		switch {
		case a.Zone() != "":
			return r.take(i, i, i+1, problem(role, "an address with a zone cannot be compared; leave out %%%s", a.Zone()))
		case a.IsUnspecified():
			return r.take(i, i, i+1, problem(role, "%s is no address of anybody", a))
		}
		return r.take(i, i, i+1, value(role, a.Unmap().String()))
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Addr().Zone() == "" && !ap.Addr().IsUnspecified() && ap.Port() != 0 {
		port := map[Role]Role{RoleAddress: RolePort, RoleDestAddress: RoleDestPort, RoleSourceAddress: roleSourcePort}[role]
		r.take(i, i, i+1, value(role, ap.Addr().Unmap().String()))
		return r.take(i, i, i+1, value(port, strconv.Itoa(int(ap.Port()))))
	}
	return 0
}

var portForms = []*regexp.Regexp{
	regexp.MustCompile(`^:([0-9]+)$`),
	regexp.MustCompile(`^(?:tcp|udp|port)[/:]?([0-9]+)$`),
	regexp.MustCompile(`^([0-9]+)/(?:tcp|udp)$`),
}

// isPort reports whether a word in lower case is a port by its form: ":443", "443/tcp".
func isPort(low string) bool {
	return slices.ContainsFunc(portForms, func(form *regexp.Regexp) bool { return form.MatchString(low) })
}

// portRole is the role of a port before whose words i a direction may stand.
func (r *reader) portRole(i int) Role {
	switch r.headingBefore(i) {
	case toward:
		return RoleDestPort
	case fromward:
		return roleSourcePort
	case atLocal:
		return RoleLocalPort
	case atRemote:
		return roleRemotePort
	}
	if r.is(i-1, "on") && r.is(i-2, "listening", "listen", "listens") {
		return RoleLocalPort
	}
	return RolePort
}

// ports reads port numbers and "port https".
func (r *reader) ports(i int) int {
	for _, form := range portForms {
		if m := form.FindStringSubmatch(r.low(i)); m != nil {
			return r.port(i, i, i+1, r.portRole(i), m[1])
		}
	}
	if !r.is(i, "port", "ports", "dport", "sport") {
		return r.barePort(i)
	}
	role := r.portRole(i)
	switch r.low(i) {
	case "dport":
		role = RoleDestPort
	case "sport":
		role = roleSourcePort
	}
	j := i + 1
	if r.is(j, "number", "no", "nr", "is") {
		j++
	}
	if r.longestBefore(i, atMost) > 0 || r.longestBefore(i, atLeast) > 0 || r.is(j, "above", "below", "over", "under", ">", "<", ">=", "<=", "between") {
		return r.take(i, i, i+1, problem(role, "ports cannot be compared; name one"))
	}
	n := 0
	for first := i; ; first = j {
		low := r.low(j)
		if p, ok := r.lex.services[low]; ok {
			low = strconv.Itoa(int(p))
		}
		if low == "" || low[0] < '0' || low[0] > '9' {
			break
		}
		n = r.port(i, first, j+1, role, low)
		if j++; r.is(j, "and", "or") && !r.words[j-1].ends {
			if next := r.low(j + 1); next == "" || next[0] < '0' || next[0] > '9' {
				break
			}
			if _, m := r.amount(j + 1); m > 0 {
				break
			}
			j++
		} else {
			break
		}
	}
	return n
}

// barePort reads a port that is not called one: "conns on 6379", "who connects to 8080".
func (r *reader) barePort(i int) int {
	low := r.low(i)
	n, err := strconv.ParseUint(low, 10, 16)
	if err != nil || n == 0 || len(low) < 2 || !r.is(i-1, "on", "to", "hitting", "hits", "into", "at") || r.words[i-1].ends {
		return 0
	}
	if m, n := r.lex.lookup(r.words[min(i+1, len(r.words)):]); !r.is(i-2, "listening", "listens", "listen", "bound") && !r.words[i].ends && i+1 < len(r.words) && (n == 0 || !m.asking && strings.HasSuffix(r.low(i+1), "s") || r.is(i+1, "or", "and", "to", "percent", "%") || timeUnits(r.low(i+1)) || slices.Contains(m.concepts, "size") || slices.Contains(m.concepts, "bytes")) {
		return 0 // "on 3 hosts"
	}
	for j := i - 2; j >= 0 && !r.words[j].ends; j-- {
		if low := r.low(j); low == "" {
			continue
		}
		if m, n := r.lex.lookup(r.words[j : j+1]); n > 0 && slices.ContainsFunc(m.concepts, func(c string) bool {
			return slices.Contains([]string{"tcp", "connection", "connect", "socket", "session", "accept", "listen", "retransmit", "reset", "inbound", "outbound", "client", "talk"}, c)
		}) {
			return r.port(i, i, i+1, r.portRole(i), low)
		}
	}
	return 0
}

func timeUnits(low string) bool { _, ok := timeUnit(low); return ok }

func (r *reader) port(from, first, last int, role Role, digits string) int {
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return r.take(from, first, last, problem(role, "%q is no port: name one from 1 to 65535", digits))
	}
	return r.take(from, first, last, value(role, strconv.FormatUint(n, 10)))
}

// services reads the names of services where a port is meant: "https connections",
// "to postgres". A name that is also a program's may be read as that.
func (r *reader) services(i int) int {
	low := r.low(i)
	p, ok := r.lex.services[low]
	if !ok || r.words[i].possessive {
		return 0
	}
	port := strconv.Itoa(int(p))
	for _, a := range r.args { // "port 23 (telnet)"
		if a.last == i && a.readings[0].value == port {
			return r.take(i, i, i+1, arg{readings: a.readings})
		}
	}
	program := r.lex.isProgram(low)
	heading := r.headingBefore(i)
	if heading == fromward && program && !r.is(i+1, "port") {
		return 0 // "by postgres"
	}
	role := r.portRole(i)
	switch {
	case r.is(i+1, "port"):
		return r.take(i, i, i+2, value(role, port))
	case heading == toward && program:
		return r.take(i, i, i+1, arg{readings: []reading{{RoleTargetProcess, low}, {RoleDestPort, port}}})
	case heading == toward:
		return r.take(i, i, i+1, arg{readings: []reading{{role, port}}, soft: true})
	case r.is(i+1, "connection", "connections", "traffic", "session", "sessions", "conns", "flows") && !r.is(i-1, "process", "by"):
		a := arg{readings: []reading{{role, port}}, soft: true}
		if low == "dns" {
			return 0
		}
		if program {
			a.readings = append(a.readings, reading{RoleProcess, low})
			a.soft = false
		}
		return r.take(i, i, i+1, a)
	case !program && low != "dns":
		return r.take(i, i, i+1, value(role, port))
	}
	return 0
}

var interfaceName = regexp.MustCompile(`^(?:eth|en[opsx]|wlan|wlp|wlx|wwan|docker|br-|br|veth|bond|team|tun|tap|wg|virbr|cni|flannel|cali|vlan|dummy|ib|ppp|lxc|lxd|vxlan|gre|sit|ifb|usb)[0-9a-z][0-9a-zA-Z._@-]*$`)

// interfaces reads names of network interfaces.
func (r *reader) interfaces(i int) int {
	name := r.text(i)
	if name == "" || len(name) > 15 {
		return 0
	}
	low := strings.ToLower(name)
	marked := r.is(i-1, "interface", "nic", "iface", "netdev") || r.saysBefore(i, "network device", "network card") > 0
	followed := r.is(i+1, "interface", "nic", "iface", "device")
	on := r.is(i-1, "on", "via", "through", "over", "into", "through", "at")
	switch {
	case low == "loopback" && (marked || followed || on || r.is(i-1, "the")):
		name = "lo"
	case low == "lo" && (marked || followed || on):
	case interfaceName.MatchString(low) && strings.ContainsAny(low, "0123456789-"):
	case marked && !r.lex.known(low) && !isNumeral(low):
	default:
		return 0
	}
	first, last := i, i+1
	if marked {
		first--
	}
	if followed {
		last++
	}
	return r.take(i, first, last, value(RoleInterface, name))
}
