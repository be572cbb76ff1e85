package childproc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports are drawn below the range from which Linux gives outgoing connections theirs (32768 and up),
// so that a connection made in the meantime cannot take one.
const (
	lowestPort = 20000
	portCount  = 12000
)

// FreePorts returns n different TCP ports that nothing listens on at loopback. They are not
// reserved: the caller starts its server soon.
func FreePorts(n int) ([]int, error) {
	var ports []int
	taken := map[int]bool{}
	for tries := 0; len(ports) < n; tries++ {
		if tries > 1000 {
			return nil, fmt.Errorf("find %d free ports from %d on: none left after %d tries", n, lowestPort, tries)
		}
		port := lowestPort + rand.IntN(portCount)
		if taken[port] {
			continue
		}
		taken[port] = true
		if CheckPort(port) == nil {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// CheckPort tells whether a server could listen on the port at loopback, by both families where the
// machine has them: Java binds "localhost" by the one it prefers.
func CheckPort(port int) error {
	v4, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d is in use: %w", port, err)
	}
	defer v4.Close()
	v6, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	if err == nil {
		return v6.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is in use: %w", port, err)
	}
	return nil // no IPv6 on this machine
}
