package record

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// seed adds the golden files whose names begin so.
func seed(f *testing.F, pattern string) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds in %s: %v", pattern, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzParseLoginRequest(f *testing.F) {
	for _, s := range []string{`{"userId":"a","userPw":"1234"}`, `{"userId":"a","userPw":null,"sealedPw":"AQ"}`, `[]`, `{`, `{"userId":"a"} x`, "{\"userId\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseLoginRequest(b)
		if err != nil {
			if r.UserID != "" && len(b) <= MaxLoginRequest {
				t.Fatalf("refused with %v, but returns %+v", err, r)
			}
			return
		}
		if r.UserID == "" {
			t.Fatal("accepted without a user id")
		}
		again, err := ParseLoginRequest(MustEncode(r))
		if err != nil && len(MustEncode(r)) <= MaxLoginRequest || err == nil && !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v is read again as %+v, %v", r, again, err)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	seed(f, "command.*")
	f.Add([]byte(`{"V":1,"kind":"?","id":"00","from":{},"friend":{"alias":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		once := MustEncode(c)
		back, err := ParseCommand(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := MustEncode(back); !bytes.Equal(once, twice) {
			t.Fatalf("not stable:\n%s\n%s", once, twice)
		}
	})
}

func FuzzParseDelivery(f *testing.F) {
	seed(f, "delivery.*")
	f.Add([]byte(`{"v":1,"reply":{"result": [ 1 , "\u2028<" ] }}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDelivery(b)
		if err != nil {
			return
		}
		once := MustEncode(d)
		back, err := ParseDelivery(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := MustEncode(back); !bytes.Equal(once, twice) {
			t.Fatalf("not stable:\n%s\n%s", once, twice)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"g@1", "", "@", "a@b@1", "g@+1", "g@00", "g@2147483647"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a || a.Partition < 0 {
			t.Fatalf("%q is %+v, written as %q", s, a, a.String())
		}
	})
}
