package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
)

// dialect is all in which the two databases differ once they are open. The
// statements are written once, with ? for arguments, in what PostgreSQL and
// SQLite share (ON CONFLICT, RETURNING, CAST).
type dialect struct {
	name       string
	goose      goose.Dialect
	beginWrite string
	beginRead  string // one snapshot for all statements up to COMMIT
	numbered   bool   // arguments are $1, $2, … instead of ?
	maxRows    int    // rows in one multi-row statement; a power of two

	// commit sends COMMIT. Its error wraps maru.ErrOutcomeUnknown when the
	// transaction may have been committed; every other error is definite.
	commit func(ctx context.Context, c *sql.Conn) error
	// durable makes the transaction that begins next on c survive a power cut, and
	// the returned function ends that.
	durable func(ctx context.Context, c *sql.Conn) (undo func(), err error)
	// refused tells whether err is the database's verdict on the values sent.
	refused func(err error) bool

	texts sync.Map // shape → string
}

// shape is a statement with the number of rows or list elements it is for.
type shape struct {
	query    string
	n, width int
}

// The places in a statement that text fills with placeholders.
const (
	rowsMark = ":rows" // (?,…),(?,…): n groups of width
	listMark = ":list" // ?,?: n
)

// text renders a statement for n groups of width arguments. Only placeholders
// are ever put in, never values. The number of different texts is small (n is a
// power of two), so all are kept: PostgreSQL prepares each once per connection.
func (d *dialect) text(query string, n, width int) string {
	key := shape{query, n, width}
	if t, ok := d.texts.Load(key); ok {
		return t.(string)
	}
	group := strings.TrimSuffix(strings.Repeat("?,", width), ",")
	t := strings.Replace(query, rowsMark, strings.TrimSuffix(strings.Repeat("("+group+"),", n), ","), 1)
	t = strings.Replace(t, listMark, strings.TrimSuffix(strings.Repeat("?,", n), ","), 1)
	if d.numbered {
		t = number(t)
	}
	d.texts.Store(key, t)
	return t
}

// number replaces each ? by $1, $2, …. No statement of this package has a ? elsewhere.
func number(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 64)
	for i := 1; ; i++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i))
		query = after
	}
}

// chunk returns how many of n rows go into the next statement: the largest
// power of two that fits, so that few different texts are needed.
func (d *dialect) chunk(n int) int {
	k := d.maxRows
	for k > n {
		k /= 2
	}
	return k
}
