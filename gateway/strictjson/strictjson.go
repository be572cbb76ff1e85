// Package strictjson reads the JSON that strangers send: every liberty that
// encoding/json takes and another reader of the same bytes might take otherwise
// is refused, with a sentence and the name of the field.
//
// It reads bodies that were bounded by the caller, and keeps nothing.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"maru"
)

// MaxDepth bounds how deep objects and lists may be nested.
const MaxDepth = 32

// maxName bounds, in bytes, what of a field's name is repeated in a refusal.
const maxName = 64

// Unmarshal reads one JSON object (RFC 8259) into v, a pointer to a struct, more strictly than encoding/json: no unknown
// or repeated fields, names in the exact case, no null, no NUL characters and no broken
// UTF-8, not even as escapes, nothing after the object, and a bounded depth.
// What passes means the same to every reader of JSON.
func Unmarshal(body []byte, v any) error {
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
			return maru.Invalid(shorten(wrong.Field), "the field must be a "+typeName(wrong.Type)+", not a "+wrong.Value)
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
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "string"
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "string"
	default:
		return "value of the documented type"
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
			return maru.Invalid(shorten(name), "the field is there twice")
		case top == 0 && !allowed[name]:
			return maru.Invalid(shorten(name), "this route has no such field")
		}
		c.seen[name], c.isValue, c.name = true, true, name
		return nil
	}
	field := ""
	if top >= 0 {
		s.level[top].isValue = false
		field = shorten(s.level[0].name)
	}
	switch token {
	case nil:
		return maru.Invalid(field, `null is not taken: leave the field out, or send "" to clear it`)
	case json.Delim('{'):
		s.level = append(s.level, container{seen: map[string]bool{}})
	case json.Delim('['):
		s.level = append(s.level, container{})
	}
	if len(s.level) > MaxDepth {
		return maru.Invalid(field, fmt.Sprintf("the body is nested more than %d levels deep", MaxDepth))
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

// shorten cuts the name of a field, which anybody may have made up.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.ToValidUTF8(name[:maxName], "")
}
