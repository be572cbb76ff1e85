package bench

import "syscall"

// bindLife makes the kernel end the child when the thread that starts it ends, so
// that a bench that is killed leaves no server behind.
func bindLife() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
