package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"maru/node"
)

type repairCmd struct {
	DryRun bool `help:"Show what would be done, and change nothing."`
	jsonFlag
	adminFlags
}

// repairLimit bounds a repair: it reads the offsets of every slot and, if one is to be
// mended, every user twice.
const repairLimit = 2 * time.Minute

// Run repairs, and tells what was lost with the log.
func (c *repairCmd) Run(w *world) error {
	s := node.Defaults()
	c.clusterFlags.fill(&s)
	s.Data = c.Data
	if len(s.Kafka) == 0 {
		if _, err := os.Stat(filepath.Join(c.Data, "log")); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is no data of maru in %s: name its directory with --data, or a cluster with --kafka and --database", c.Data)
		}
	}
	ctx, cancel := context.WithTimeout(w.ctx, repairLimit)
	defer cancel()
	log := slog.New(slog.NewTextHandler(w.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	mended, err := node.Repair(ctx, node.Config{Settings: s, Logger: log}, c.DryRun)
	if err != nil {
		return err
	}
	if mended == nil {
		mended = []node.Mended{}
	}
	return c.write(w.stdout, mended, func(w io.Writer) {
		if len(mended) == 0 {
			fmt.Fprintln(w, "every checkpoint lies within its log: nothing to repair")
			return
		}
		fmt.Fprint(w, "SLOT\tCHECKPOINT WAS\tIS NOW\tCOMMANDS LOST\n")
		for _, m := range mended {
			fmt.Fprintf(w, "%d\t%d\t%d\t%d\n", m.Slot, m.Checkpoint, m.Next, m.Lost)
		}
		if c.DryRun {
			fmt.Fprintln(w, "nothing was changed: leave --dry-run out to do it")
		}
	})
}

type healthCmd struct {
	URL     string   `name:"url" default:"http://127.0.0.1:8080/readyz" help:"What to ask (${default}); /healthz instead tells only that the process lives."`
	Timeout duration `default:"3s" help:"How long to wait (${default})."`
}

// Run asks once.
func (c *healthCmd) Run(w *world) error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &usageError{fmt.Errorf("--url %q is no address: write http://host:port/readyz", c.URL)}
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(c.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return err
}

type secretCmd struct {
	Init secretInitCmd `cmd:"" help:"Make a secret in a file, mode 0600; a secret that is there is kept."`
}

type secretInitCmd struct {
	File string `required:"" placeholder:"FILE" help:"The file."`
}

// Run makes the secret.
func (c *secretInitCmd) Run(w *world) error {
	if err := node.NewSecretFile(c.File); err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "the secret is in %s; give it to every process of the cluster with --secret-file\n", c.File)
	return nil
}

type versionCmd struct{ jsonFlag }

// version is set by the linker (see Makefile).
var version string

// Run shows what this binary is.
func (c *versionCmd) Run(w *world) error {
	v := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{versionText(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	return c.write(w.stdout, v, func(w io.Writer) { fmt.Fprintf(w, "maru %s %s %s\n", v.Version, v.Go, v.Platform) })
}

// versionText is what the linker was told, else the commit that the Go command
// has recorded.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "unknown"
}
