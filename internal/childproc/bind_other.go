//go:build unix && !linux

package childproc

import "syscall"

// bindLife does nothing: only Linux signals a child on the death of its parent. Elsewhere a killed
// test binary leaves its servers running; one that ends in order still stops them.
func bindLife(*syscall.SysProcAttr, syscall.Signal) {}
