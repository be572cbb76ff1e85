package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

var issued = time.Unix(1700000000, 0).UTC()

func someToken() Token {
	return Token{User: "alice", Session: "s1", IssuedAt: issued, ExpiresAt: issued.Add(24 * time.Hour)}
}

func someDevice() DeviceToken {
	return DeviceToken{User: "alice", Device: "s1", IssuedAt: issued}
}

// Known answers for the secret of [fixed], computed by another implementation of the same
// layout.
const (
	knownToken  = "MGgXq4v3_RK9WbvlENAH3TEJsrNItLj-ICOG3-BN1dEBAQAAAABlU_EABWFsaWNlAnMxAAAAAGVVQoA"
	knownDevice = "kz10_pJNTD6rtjc0QiA1j-fiME-NQov9dCNdvRC3VIoBAQAAAABlU_EABWFsaWNlAnMx"
	knownClaims = "zbyvK3JQgrIaT8I_lwen0AJxUC_Bt5P7BKzmgiYiYNt7InJlcGx5IjoiZzEifQ"
)

func TestTokenKnownAnswers(t *testing.T) {
	tokens := NewTokens(fixed(t))
	if got, err := tokens.Sign(someToken()); got != knownToken || err != nil {
		t.Errorf("Sign = %s, %v", got, err)
	}
	if got, err := tokens.Parse(knownToken, issued); got != someToken() || err != nil {
		t.Errorf("Parse = %+v, %v", got, err)
	}
	if got, err := tokens.SignDevice(someDevice()); got != knownDevice || err != nil {
		t.Errorf("SignDevice = %s, %v", got, err)
	}
	if got, err := tokens.ParseDevice(knownDevice); got != someDevice() || err != nil {
		t.Errorf("ParseDevice = %+v, %v", got, err)
	}
}

func TestTokenExpiry(t *testing.T) {
	tokens := NewTokens(fixed(t))
	for _, c := range []struct {
		after time.Duration
		want  error
	}{
		{-time.Hour, nil}, // clocks of gateways differ
		{0, nil},
		{24*time.Hour - 1, nil},
		{24 * time.Hour, ErrTokenExpired},
		{1000 * time.Hour, ErrTokenExpired},
	} {
		if _, err := tokens.Parse(knownToken, issued.Add(c.after)); !errors.Is(err, c.want) {
			t.Errorf("%v after issue: %v, want %v", c.after, err, c.want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	tokens := NewTokens(fixed(t))
	long := strings.Repeat("x", maxTokenName+1)
	for name, change := range map[string]func(*Token){
		"no user":      func(k *Token) { k.User = "" },
		"no session":   func(k *Token) { k.Session = "" },
		"long user":    func(k *Token) { k.User = long },
		"long session": func(k *Token) { k.Session = long },
		"no life":      func(k *Token) { k.ExpiresAt = k.IssuedAt },
		"no whole second of life": func(k *Token) {
			k.ExpiresAt = k.IssuedAt.Add(time.Second - 1)
		},
	} {
		token := someToken()
		change(&token)
		if text, err := tokens.Sign(token); err == nil {
			t.Errorf("%s: signed %s", name, text)
		}
	}
	for _, d := range []DeviceToken{{Device: "d"}, {User: "u"}, {User: long, Device: "d"}, {User: "u", Device: long}} {
		if text, err := tokens.SignDevice(d); err == nil {
			t.Errorf("signed %s for %+v", text, d)
		}
	}
	token := someToken()
	token.User, token.Session = long[1:], long[1:]
	text, err := tokens.Sign(token)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.Parse(text, issued); got != token || err != nil {
		t.Errorf("longest token: %v", err)
	}
}

// Whatever is done to a genuine text, it is refused: every bit of it counts, and so does
// every way of writing it.
func TestSignedTextsCannotBeChanged(t *testing.T) {
	s := fixed(t)
	tokens, claims := NewTokens(s), NewClaims(s)
	for name, c := range map[string]struct {
		text  string
		check func(string) error
	}{
		"token":  {knownToken, func(x string) error { _, err := tokens.Parse(x, issued); return err }},
		"device": {knownDevice, func(x string) error { _, err := tokens.ParseDevice(x); return err }},
		"claims": {knownClaims, func(x string) error { _, err := claims.Verify("alice", "c1", x); return err }},
	} {
		if err := c.check(c.text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, err := base64.RawURLEncoding.DecodeString(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(raw) * 8 {
			changed := bytes.Clone(raw)
			changed[i/8] ^= 1 << (i % 8)
			if c.check(base64.RawURLEncoding.EncodeToString(changed)) == nil {
				t.Fatalf("%s: bit %d does not count", name, i)
			}
		}
		for i := range raw {
			if c.check(base64.RawURLEncoding.EncodeToString(raw[:i])) == nil {
				t.Fatalf("%s: cut to %d bytes and accepted", name, i)
			}
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for _, last := range alphabet { // some of which differ only in bits that encode nothing
			if other := c.text[:len(c.text)-1] + string(last); other != c.text && c.check(other) == nil {
				t.Errorf("%s: accepted with %c at its end", name, last)
			}
		}
		for _, other := range []string{"", "=", c.text + "=", c.text + "A", c.text + "AAAA", c.text + "\n", c.text[:9] + "\r\n" + c.text[9:], " " + c.text,
			strings.Repeat("A", 1<<20), c.text + strings.Repeat("\n", 100)} {
			if c.check(other) == nil {
				t.Errorf("%s: accepted %.100q", name, other)
			}
		}
	}
}

// Genuine texts of one kind or one cluster are worth nothing as another's.
func TestSignedTextsAreOfOneKind(t *testing.T) {
	ours, theirs := fixed(t), NewSecret()
	for _, s := range []*Secret{ours, theirs} {
		tokens, claims := NewTokens(s), NewClaims(s)
		if _, err := tokens.Parse(knownDevice, issued); !errors.Is(err, ErrToken) {
			t.Errorf("device token as token: %v", err)
		}
		if _, err := tokens.ParseDevice(knownToken); !errors.Is(err, ErrToken) {
			t.Errorf("token as device token: %v", err)
		}
		if _, err := claims.Verify("", "", knownToken); !errors.Is(err, ErrClaims) {
			t.Errorf("token as claims: %v", err)
		}
	}
	tokens := NewTokens(theirs)
	if _, err := tokens.Parse(knownToken, issued); !errors.Is(err, ErrToken) {
		t.Errorf("token of another cluster: %v", err)
	}
	if _, err := tokens.ParseDevice(knownDevice); !errors.Is(err, ErrToken) {
		t.Errorf("device token of another cluster: %v", err)
	}
}

// What is signed but not laid out as a token, as a later version might be, is refused and
// not misread.
func TestParseRefusesOtherLayouts(t *testing.T) {
	tokens := NewTokens(fixed(t))
	body, err := appendToken(nil, "alice", "s1", issued)
	if err != nil {
		t.Fatal(err)
	}
	full := append(bytes.Clone(body), 0, 0, 0, 0, 0x7f, 0, 0, 0)
	if _, err := tokens.Parse(tokens.session.sign(full), issued); err != nil {
		t.Fatal(err)
	}
	with := func(i int, v byte) []byte {
		b := bytes.Clone(full)
		b[i] = v
		return b
	}
	for name, b := range map[string][]byte{
		"version": with(0, 2), "key": with(1, 2), "empty user": with(10, 0), "user past the end": with(10, 255),
		"empty session": with(16, 0), "session past the end": with(16, 200), "no expiry": body, "trailing byte": append(bytes.Clone(full), 0),
		"nothing": nil, "head only": full[:10], "one id": full[:16],
	} {
		if got, err := tokens.Parse(tokens.session.sign(b), issued); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := tokens.ParseDevice(tokens.device.sign(full)); !errors.Is(err, ErrToken) {
		t.Errorf("device token with more behind it: %v", err)
	}
}

func FuzzParseToken(f *testing.F) {
	s := fixed(f)
	tokens := NewTokens(s)
	f.Add(knownToken, []byte(nil))
	f.Add(knownDevice, []byte{1, 1})
	f.Add("", append([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'a', 1, 'b'}, make([]byte, 8)...))
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		if token, err := tokens.Parse(text, issued); err == nil && text != knownToken {
			t.Fatalf("accepted forged %q as %+v", text, token)
		}
		if d, err := tokens.ParseDevice(text); err == nil && text != knownDevice {
			t.Fatalf("accepted forged %q as %+v", text, d)
		}
		if len(body) > tokens.session.maxBody {
			return
		}
		// Signed bodies reach the layout behind the signature.
		signed := tokens.session.sign(body)
		token, err := tokens.Parse(signed, time.Unix(-1<<60, 0))
		if err != nil {
			return
		}
		if again, err := tokens.Sign(token); err == nil && again != signed {
			t.Fatalf("%x is read as %+v and written otherwise", body, token)
		}
	})
}

func FuzzTokenRoundTrip(f *testing.F) {
	tokens := NewTokens(fixed(f))
	f.Add("alice", "s1", int64(1700000000), int64(3600))
	f.Add("", "\x00", int64(-1), int64(1))
	f.Fuzz(func(t *testing.T, user, session string, from, seconds int64) {
		want := Token{User: user, Session: session, IssuedAt: time.Unix(from, 0).UTC(), ExpiresAt: time.Unix(from+seconds, 0).UTC()}
		text, err := tokens.Sign(want)
		if err != nil {
			return
		}
		got, err := tokens.Parse(text, want.ExpiresAt.Add(-1))
		if err != nil || got != want {
			t.Fatalf("%+v came back as %+v, %v", want, got, err)
		}
	})
}
