package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"maru"
	"maru/auth"
	"maru/node"
)

// userArg is the user that a command is about. The rule for ids is checked here
// already, so that a wrong one is a mistake of the command line.
type userArg struct {
	ID string `arg:"" name:"id" help:"User id: 1 to 32 letters a-z, digits, dots, underscores or hyphens."`
}

func (a *userArg) Validate() error {
	id, err := maru.ParseUserID(a.ID)
	if err != nil {
		return fmt.Errorf("%q: %s", a.ID, maru.AsError(err).Message)
	}
	a.ID = id
	return nil
}

type userAddCmd struct {
	userArg
	UserName   string `name:"name" help:"Name that others see."`
	UserStatus string `name:"status" help:"Status line that others see."`
	Email      string `help:"E-mail address."`
	Admin      bool   `help:"The user is an administrator."`
	AllowWeak  bool   `help:"Accept a short or common password, for reference data."`
	adminFlags
	passwordFlags
}

// Run adds the user.
func (c *userAddCmd) Run(w *world) error {
	password, err := readPassword(w)
	if err != nil {
		return err
	}
	u := node.NewUser{
		UserID: c.ID, Password: password, Name: c.UserName, Status: c.UserStatus, Email: c.Email,
		Admin: c.Admin, AllowWeak: c.AllowWeak,
	}
	err = c.with(w, &c.passwordFlags, func(ctx context.Context, op operator) error { return op.AddUser(ctx, u) })
	if err == nil {
		fmt.Fprintf(w.stdout, "user %s added\n", c.ID)
	}
	return plain(err)
}

type userPasswdCmd struct {
	userArg
	AllowWeak bool `help:"Accept a short or common password, for reference data."`
	adminFlags
	passwordFlags
}

// Run sets the password.
func (c *userPasswdCmd) Run(w *world) error {
	password, err := readPassword(w)
	if err != nil {
		return err
	}
	err = c.with(w, &c.passwordFlags, func(ctx context.Context, op operator) error {
		return op.SetPassword(ctx, c.ID, password, c.AllowWeak)
	})
	if err == nil {
		fmt.Fprintf(w.stdout, "password of %s set; all sessions of %s have ended\n", c.ID, c.ID)
	}
	return plain(err)
}

type userAdminCmd struct {
	userArg
	State string `arg:"" enum:"on,off" help:"on or off."`
	adminFlags
}

// Run changes whether the user is an administrator.
func (c *userAdminCmd) Run(w *world) error {
	err := c.with(w, nil, func(ctx context.Context, op operator) error { return op.SetAdmin(ctx, c.ID, c.State == "on") })
	if err == nil {
		is := "an"
		if c.State == "off" {
			is = "no"
		}
		fmt.Fprintf(w.stdout, "user %s is %s administrator now\n", c.ID, is)
	}
	return plain(err)
}

// plain takes the code off a refusal: people read the sentence.
func plain(err error) error {
	var e *maru.Error
	if errors.As(err, &e) {
		return errors.New(e.Message)
	}
	return err
}

// readPassword reads one line from standard input: asked for twice and without
// echo on a terminal, otherwise the first line as it is.
func readPassword(w *world) (string, error) {
	if !isTerminal(w.stdin) {
		return readLine(w.stdin)
	}
	first, err := askHidden(w, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := askHidden(w, "Once more: ")
	if err == nil && again != first {
		err = errors.New("the two passwords differ: try again")
	}
	return first, err
}

func askHidden(w *world, prompt string) (line string, err error) {
	restore, err := hideEcho(w.stdin)
	if err != nil {
		return "", fmt.Errorf("the terminal cannot hide what is typed (%w): pipe the password into standard input", err)
	}
	defer restore()
	fmt.Fprint(w.stderr, prompt)
	line, err = readLine(w.stdin)
	fmt.Fprintln(w.stderr) // the typed line end was not shown either
	return line, err
}

// readLine reads up to the first line end, byte by byte: what follows is not for
// this reader.
func readLine(f *os.File) (string, error) {
	var b [1]byte
	var line strings.Builder
	for {
		n, err := f.Read(b[:])
		if n == 1 && b[0] != '\n' {
			line.WriteByte(b[0])
			if line.Len() > auth.MaxPasswordBytes+1 {
				return "", &usageError{fmt.Errorf("the password is longer than %d bytes", auth.MaxPasswordBytes)}
			}
		}
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
	}
	s := strings.TrimSuffix(line.String(), "\r")
	if s == "" {
		return "", &usageError{errors.New("no password: give it on standard input, one line")}
	}
	return s, nil
}
