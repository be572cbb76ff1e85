package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// maxConfigFile bounds a configuration file, in bytes.
const maxConfigFile = 1 << 20

// fileResolver gives flags the values of the file that --config or MARU_CONFIG
// names, unless the command line or the environment has them. It serves one
// parse on one goroutine.
type fileResolver struct {
	read   bool
	values map[string]any
}

// Validate implements kong.Resolver. Names are checked when the file is read:
// before its values are used.
func (r *fileResolver) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (r *fileResolver) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !isSetting(flag) || flag.Name == "config" {
		return nil, nil
	}
	if !r.read {
		r.read = true
		path, err := configPath(ctx)
		if err != nil || path == "" {
			return nil, err
		}
		if r.values, err = readConfig(path, settingNames(ctx.Model)); err != nil {
			return nil, &fileError{path, err}
		}
	}
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	return r.values[flag.Name], nil
}

// fileError is what is wrong with a configuration file.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return fmt.Sprintf("configuration file %s: %v", e.path, e.err) }
func (e *fileError) Unwrap() error { return e.err }

// isSetting tells settings from options of single commands.
func isSetting(f *kong.Flag) bool { return len(f.Envs) > 0 }

// configPath returns the file that the selected command was told to read.
func configPath(ctx *kong.Context) (string, error) {
	for _, f := range ctx.Flags() {
		if f.Name == "config" {
			path, ok := ctx.FlagValue(f).(string)
			if !ok {
				return "", errors.New("--config is not a file name")
			}
			return path, nil
		}
	}
	return "", nil
}

// settingNames are the names of all settings: those of serve.
func settingNames(app *kong.Application) map[string]bool {
	names := map[string]bool{}
	for _, f := range settingFlags(app) {
		names[f.Name] = true
	}
	return names
}

// settingFlags are the flags of serve that are settings, in the order of their
// declaration.
func settingFlags(app *kong.Application) (flags []*kong.Flag) {
	for _, n := range app.Children {
		if n.Name != "serve" {
			continue
		}
		for _, f := range n.Flags {
			if isSetting(f) {
				flags = append(flags, f)
			}
		}
	}
	return flags
}

// readConfig reads one JSON object whose keys are names of settings.
func readConfig(path string, known map[string]bool) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxConfigFile {
		return nil, fmt.Errorf("is longer than %d bytes", maxConfigFile)
	}
	return parseConfig(b, known)
}

func parseConfig(b []byte, known map[string]bool) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	values := map[string]any{}
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", errNotObject, err)
		}
		key, _ := t.(string) // the decoder allows nothing else before a colon
		if err := checkKey(key, known, values); err != nil {
			return nil, err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("%w (%w)", errNotObject, err)
		}
		if values[key], err = flagValue(key, v); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("%w (%w)", errNotObject, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object: remove it")
	}
	return values, nil
}

var errNotObject = errors.New(`is not a JSON object of settings, such as {"listen": ":8080"}`)

func checkKey(key string, known map[string]bool, seen map[string]any) error {
	if _, twice := seen[key]; twice {
		return fmt.Errorf("%q stands there twice: keep one", key)
	}
	if known[key] && key != "config" {
		return nil
	}
	if plain := strings.TrimLeft(strings.ReplaceAll(strings.ToLower(key), "_", "-"), "-"); known[plain] && plain != "config" {
		return fmt.Errorf("%q is no setting: write %q", key, plain)
	}
	return fmt.Errorf(`%q is no setting: "maru help serve" lists them, to be written without the dashes in front`, key)
}

// flagValue turns a JSON value into what a flag reads: text, a number, or a list.
func flagValue(key string, v any) (any, error) {
	switch v := v.(type) {
	case string, float64:
		return v, nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%q is a list with something that is not text in it", key)
			}
			parts[i] = strings.ReplaceAll(s, ",", `\,`)
		}
		return strings.Join(parts, ","), nil
	}
	return nil, fmt.Errorf("%q is neither text, nor a number, nor a list of texts", key)
}
