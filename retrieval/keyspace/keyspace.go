// Package keyspace names keys so that Redis Cluster keeps together what one
// command, script or transaction uses together.
//
// A cluster keeps each key on the server that has the slot of the key's name,
// or of the part of it in braces; keys of one slot are always together. On one
// server names have no braces: they are as they were before there were clusters,
// and a cluster never has keys of the older names.
package keyspace

import "github.com/redis/go-redis/v9"

// Prefix is what the names of all keys begin with that the control side keeps
// for itself: conversations, cases, locks.
const Prefix = "kgent:"

// Clustered reports whether a client speaks to a Redis Cluster.
func Clustered(client redis.UniversalClient) bool {
	_, ok := client.(*redis.ClusterClient)
	return ok
}

// Tag returns what a key's name has in place of name, so that keys with the
// same name are together: {name} in a cluster.
func Tag(client redis.UniversalClient, name string) string {
	if Clustered(client) {
		return "{" + name + "}"
	}
	return name
}

// State returns what the names of all keys begin with that a store of the
// control side uses together: kgent:{store}: in a cluster, kgent: elsewhere.
func State(client redis.UniversalClient, store string) string {
	if Clustered(client) {
		return Prefix + "{" + store + "}:"
	}
	return Prefix
}
