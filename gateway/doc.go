// Package gateway is the edge of maru: it speaks REST with clients and turns
// what they ask into records for the homes.
//
// A gateway holds connections, the commands that wait for their replies, and the
// rate limits by client address, and nothing else: no user, no session and no
// cache. Whatever it knows of a user it has just been told by that user's home,
// so any number of gateways can stand behind any load balancer and one may die
// without loss. Whether a session still lives is the home's judgement in every
// single command. The package neither reads nor writes SQL and does not know
// Kafka's protocol: it asks for a [Log] and is handed what the delivery topic brings.
package gateway
