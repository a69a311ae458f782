package bus

import (
	"fmt"

	"kgent/retrieval/keyspace"
)

// NodeUser and BotUser are the names of Redis users: every node has its own.
func NodeUser(node string) string { return "node-" + node }

// BotUser is the name of the user of the control side. No node's is the same.
const BotUser = "kgent-bot"

// NodeRules returns what a node's user may do, as rules of Redis 7's ACL: take
// and acknowledge its own jobs, publish its own output, read leases, hear
// stops, announce itself, add facts, and find its way in a cluster. It can
// neither make a job nor take
// another's, read nor write output of others, keep a run alive, stop one, or
// touch anything else that is kept there.
func NodeRules(node string) ([]string, error) {
	if err := CheckName(node); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return []string{
		"resetkeys", "resetchannels", "-@all",
		"+hello", "+ping", "+cluster|slots", "+asking",
		"&" + stopsChannel, "+subscribe", "+unsubscribe",
		"~" + jobKey(node), "+xreadgroup", "+xautoclaim", "+xack", "+xdel", "+xgroup|create",
		"(%W~" + outKey("*", node) + " +xadd +expire)",
		"(%R~" + leaseKey("*") + " +get)",
		"(~" + nodeKey(node) + " +get +set +del)",
		"(%W~" + nodesKey + " +sadd)",
		"(%R~" + factsKey("*") + " +exists)",
		"(%W~" + factsKey("*") + " +setnx)",
	}, nil
}

// BotRules returns what the control side's user may do: its own state, and the
// other side of what nodes do. It can write no output and announce no node, and
// nothing that concerns the server or other applications on it.
func BotRules() []string {
	return []string{
		"resetkeys", "resetchannels", "-@all",
		"+@connection", "+@read", "+@write", "+@pubsub", "+@transaction", "-@dangerous", "-@admin",
		"+cluster|slots",
		"-@scripting", "+eval", "+evalsha", "+script|load", "+script|exists",
		"&" + keyspace.Prefix + "*", "&" + stopsChannel,
		"~" + keyspace.Prefix + "*", "~" + leaseKey("*"), "~" + nodesKey, "~" + factsKey("*"),
		"%W~" + jobKey("*"), "%R~" + outKey("*", "*"), "%R~" + nodeKey("*"),
	}
}
