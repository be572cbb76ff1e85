package deploy

// InitdbArgs are the arguments by which the database cluster is made, in compose.yaml as in tests:
// passwords over the network by SCRAM only, and text that sorts by code point, the same on every
// machine and release, while upper and lower case are known beyond ASCII.
const InitdbArgs = "--encoding=UTF8 --locale=C.UTF-8 --auth-host=scram-sha-256"
