package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// answerLimit bounds one request; the server gives up after 10 s by itself.
const answerLimit = 30 * time.Second

// maxAnswer bounds the body of an answer.
const maxAnswer = 64 << 10

// client is one sender's connection, kept between requests. One goroutine at a
// time uses it. It takes less of the processors than net/http's pool of
// connections with their goroutines: they are the server's to use.
type client struct {
	addr string
	conn net.Conn // nil: not connected
	in   *bufio.Reader
	out  *bufio.Writer
}

// do sends a request and returns the body of the answer, which must have the
// status that is wanted.
func (c *client) do(ctx context.Context, method, path, token string, body any, want int) ([]byte, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "maru-bench")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, answer, err := c.exchange(req)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status != want {
		return nil, fmt.Errorf("%s %s: status %d, want %d: %.200s", method, path, status, want, answer)
	}
	return answer, nil
}

func (c *client) exchange(req *http.Request) (status int, body []byte, err error) {
	if err := c.connect(req.Context()); err != nil {
		return 0, nil, err
	}
	stop := context.AfterFunc(req.Context(), func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return 0, nil, err
	}
	if err := errors.Join(req.Write(c.out), c.out.Flush()); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(c.in, req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return 0, nil, err
	}
	if resp.Close || len(body) == maxAnswer {
		c.close()
	}
	return resp.StatusCode, body, nil
}

func (c *client) connect(ctx context.Context) (err error) {
	if c.conn != nil {
		return nil
	}
	var d net.Dialer
	if c.conn, err = d.DialContext(ctx, "tcp", c.addr); err != nil {
		c.conn = nil
		return err
	}
	c.in, c.out = bufio.NewReader(c.conn), bufio.NewWriter(c.conn)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
