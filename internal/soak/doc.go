// Package soak tests maru as users run it: the real binary, as real processes, on
// real disks and with real brokers, under signals, power cuts and full disks, for
// as long as one likes (see the flags soak.for, soak.rounds and soak.cuts).
//
// It holds tests alone. What can be shown in virtual time is shown by package
// testcluster, whose oracle both share.
package soak
