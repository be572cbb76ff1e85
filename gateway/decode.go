package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"maru"
	"maru/gateway/strictjson"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// secret is a password in a request. It prints as a placeholder wherever it may
// end up, and its bytes are zeroed after use.
type secret []byte

const hidden = "[hidden]"

// UnmarshalText implements encoding.TextUnmarshaler; b is the text of a JSON string.
func (p *secret) UnmarshalText(b []byte) error {
	*p = bytes.Clone(b)
	return nil
}

// MarshalText implements encoding.TextMarshaler and gives nothing away.
func (p secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format implements fmt.Formatter and gives nothing away, whatever the verb.
func (p secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// decode reads the JSON body of r into v, a pointer to a struct. Its refusals
// say which field is wrong.
func decode(r *request, v any) error {
	if err := checkContentType(r); err != nil {
		return err
	}
	body, err := readBody(r)
	defer clear(body) // it may hold a password
	if err != nil {
		return err
	}
	return strictjson.Unmarshal(body, v)
}

// decodeOptional is decode for a body that may be absent; v stays as it is then.
func decodeOptional(r *request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return decode(r, v)
}

func readBody(r *request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errBodyTooLarge()
	}
	body, err := io.ReadAll(r.Body) // under http.MaxBytesReader
	if err != nil {
		if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
			return body, errBodyTooLarge()
		}
		return body, &maru.Error{Code: maru.CodeInvalid, Message: "the body could not be read to its end", Err: err}
	}
	return body, nil
}

func errBodyTooLarge() error {
	return &maru.Error{Code: maru.CodeTooLarge, Message: fmt.Sprintf("the body may have at most %d bytes", maxBody)}
}

// checkContentType wants JSON in so many words: forms and plain text, which a
// browser sends across origins without asking, are not looked at.
func checkContentType(r *request) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &maru.Error{Code: codeUnsupportedType, Message: "send the body as application/json in UTF-8"}
	}
	return nil
}

// shorten cuts s to at most limit characters.
func shorten(s string, limit int) string {
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}
