package childproc

import "syscall"

// bindLife asks the kernel to signal the child when the thread that forks it ends.
func bindLife(attr *syscall.SysProcAttr, death syscall.Signal) { attr.Pdeathsig = death }
