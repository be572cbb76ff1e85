package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"maru"
)

// Bounds of a request body.
const (
	maxBody  = 64 << 10
	maxDepth = 32
)

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
	return unmarshal(body, v)
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

// unmarshal reads one JSON object (RFC 8259) into v, more strictly than encoding/json: no unknown
// or repeated fields, names in the exact case, no null, no NUL characters and no broken
// UTF-8, not even as escapes, nothing after the object, and a bounded depth.
// What passes means the same to every reader of JSON.
func unmarshal(body []byte, v any) error {
	if !utf8.Valid(body) {
		return maru.Invalid("", "the body is not valid UTF-8")
	}
	if err := scan(body, fieldsOf(v)); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return maru.Invalid(wrong.Field, "the field must be a "+typeName(wrong.Type)+", not a "+wrong.Value)
		}
		return &maru.Error{Code: maru.CodeInvalid, Message: "the body is not what this route takes", Err: errNoDetail}
	}
	return nil
}

// errNoDetail stands for errors of the JSON decoder, which may quote the body.
var errNoDetail = errors.New("json does not fit")

// fieldsOf returns the names of the fields of the struct to which v points.
func fieldsOf(v any) map[string]bool {
	t := reflect.TypeOf(v).Elem()
	names := make(map[string]bool, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		if t != reflect.TypeFor[secret]() {
			return "list"
		}
		return "string"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "string"
	default:
		return "number or object of the documented type"
	}
}

// scanner walks through the tokens of a body; level holds the objects and lists that are open.
type scanner struct {
	d     *json.Decoder
	level []container
}

// container is an open object, whose names were seen and whose next token is a
// name or a value, or an open list (seen is nil).
type container struct {
	seen    map[string]bool
	isValue bool
	name    string // of the value that comes
}

// scan checks what encoding/json lets pass.
func scan(body []byte, allowed map[string]bool) error {
	if t := bytes.TrimLeft(body, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return maru.Invalid("", "the body must be one JSON object")
	}
	if err := checkEscapes(body); err != nil {
		return err
	}
	s := scanner{d: json.NewDecoder(bytes.NewReader(body))}
	for {
		token, err := s.d.Token()
		if err != nil {
			return maru.Invalid("", "the body is not valid JSON")
		}
		if err := s.take(token, allowed); err != nil {
			return err
		}
		if len(s.level) == 0 {
			break
		}
	}
	if _, err := s.d.Token(); err != io.EOF {
		return maru.Invalid("", "something follows the JSON object")
	}
	return nil
}

// take checks one token in its place.
func (s *scanner) take(token json.Token, allowed map[string]bool) error {
	top := len(s.level) - 1
	if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
		s.level = s.level[:top]
		return nil
	}
	if top >= 0 && s.level[top].seen != nil && !s.level[top].isValue { // a name
		c, name := &s.level[top], token.(string)
		switch {
		case c.seen[name]:
			return maru.Invalid(shorten(name, 64), "the field is there twice")
		case top == 0 && !allowed[name]:
			return maru.Invalid(shorten(name, 64), "this route has no such field")
		}
		c.seen[name], c.isValue, c.name = true, true, name
		return nil
	}
	field := ""
	if top >= 0 {
		s.level[top].isValue = false
		field = shorten(s.level[0].name, 64)
	}
	switch token {
	case nil:
		return maru.Invalid(field, `null is not taken: leave the field out, or send "" to clear it`)
	case json.Delim('{'):
		s.level = append(s.level, container{seen: map[string]bool{}})
	case json.Delim('['):
		s.level = append(s.level, container{})
	}
	if len(s.level) > maxDepth {
		return maru.Invalid(field, fmt.Sprintf("the body is nested more than %d levels deep", maxDepth))
	}
	return nil
}

// checkEscapes refuses the escape sequences that stand for NUL, which databases
// do not store, and for halves of surrogate pairs, which decoders replace silently.
func checkEscapes(body []byte) error {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // now at the character after the backslash
		unit, ok := escapeAt(body, i)
		switch {
		case !ok:
			continue
		case unit == 0:
			return maru.Invalid("", "NUL characters are not taken")
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return maru.Invalid("", "the body has half of a surrogate pair")
		case unit >= 0xD800 && unit <= 0xDBFF:
			low, ok := uint16(0), false
			if i+5 < len(body) && body[i+5] == '\\' {
				low, ok = escapeAt(body, i+6)
			}
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return maru.Invalid("", "the body has half of a surrogate pair")
			}
			i += 10
		}
	}
	return nil
}

// escapeAt reads uXXXX at i.
func escapeAt(body []byte, i int) (unit uint16, ok bool) {
	if i+5 > len(body) || body[i] != 'u' {
		return 0, false
	}
	for _, c := range body[i+1 : i+5] {
		var digit byte
		switch {
		case '0' <= c && c <= '9':
			digit = c - '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			digit = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint16(digit)
	}
	return unit, true
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
