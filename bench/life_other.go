//go:build !linux

package bench

import "syscall"

// bindLife: other systems cannot bind a child to its parent.
func bindLife() *syscall.SysProcAttr { return nil }
