package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"maru"
)

// control serves the Operator on admin.sock in the data directory: who may open
// the socket (mode 0600) may administrate.
type control struct{ op *Operator }

// SocketName is the name of the administrators' socket in the data directory.
const SocketName = "admin.sock"

// Operator returns the administrator's hand of this process.
func (n *Node) Operator() *Operator { return n.control.op }

func (n *Node) startControl(context.Context) error {
	n.control = &control{op: &Operator{n: n}}
	n.onClose("operator", func(context.Context) error { n.control.op.reset(); return nil })
	if n.cfg.Seams.NoAdmin {
		return nil
	}
	ln, err := listenSocket(filepath.Join(n.cfg.Data, SocketName))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: n.control.routes(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("the administrators' socket is closed", "err", err)
		}
	}()
	n.onClose("admin socket", func(context.Context) error {
		err := srv.Close() // removes the socket
		<-done
		return err
	})
	return nil
}

// listenSocket opens the socket. One that a killed process left behind is
// replaced; one that answers belongs to a running maru.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("another maru is running on this data directory (%s answers): stop it, or choose another directory with --data", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w (a socket's path may have at most about 100 characters: choose a shorter --data)", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /where/{id}", answer(func(r *http.Request) (any, error) { return c.op.Where(r.Context(), r.PathValue("id")) }))
	mux.HandleFunc("GET /topics", answer(func(r *http.Request) (any, error) { return c.op.Topics(r.Context()) }))
	mux.HandleFunc("GET /residents", answer(func(r *http.Request) (any, error) { return c.op.Residents(r.Context()) }))
	mux.HandleFunc("POST /users", answer(func(r *http.Request) (any, error) {
		var u NewUser
		if err := decode(r, &u); err != nil {
			return nil, err
		}
		return nil, c.op.AddUser(r.Context(), u)
	}))
	mux.HandleFunc("PUT /users/{id}/password", answer(func(r *http.Request) (any, error) {
		var u NewUser
		if err := decode(r, &u); err != nil {
			return nil, err
		}
		return nil, c.op.SetPassword(r.Context(), r.PathValue("id"), u.Password, u.AllowWeak)
	}))
	mux.HandleFunc("PUT /users/{id}/admin", answer(func(r *http.Request) (any, error) {
		var u NewUser
		if err := decode(r, &u); err != nil {
			return nil, err
		}
		return nil, c.op.SetAdmin(r.Context(), r.PathValue("id"), u.Admin)
	}))
	return mux
}

// Problem is how the socket refuses.
type Problem struct {
	Code    maru.Code `json:"code"`
	Message string    `json:"message"`
}

func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err == nil {
			writeJSON(w, http.StatusOK, v)
			return
		}
		e := maru.AsError(err)
		if e.Code == maru.CodeInternal { // the administrator may see causes
			e = &maru.Error{Code: e.Code, Message: err.Error()}
		}
		writeJSON(w, http.StatusBadRequest, Problem{Code: e.Code, Message: e.Message})
	}
}

func decode(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return maru.Invalid("", "the request is not readable JSON")
	}
	return nil
}

func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("answer of the home: %w", err)
	}
	return nil
}
