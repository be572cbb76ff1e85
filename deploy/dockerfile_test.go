package deploy_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"maru/deploy"
)

func dockerfile(t *testing.T) []deploy.Instruction {
	t.Helper()
	all, err := deploy.ParseDockerfile(readFile(t, "../Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// args returns the arguments of every instruction of that name.
func args(all []deploy.Instruction, name string) (found []string) {
	for _, in := range all {
		if in.Name == name {
			found = append(found, in.Args)
		}
	}
	return found
}

func TestImageIsMinimal(t *testing.T) {
	last := deploy.LastStage(dockerfile(t))
	if last[0].Args != "scratch" {
		t.Errorf("the image is made from %s, want scratch", last[0].Args)
	}
	users := args(last, "USER")
	if len(users) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(users[0]) {
		t.Errorf("users %v, want one by number that is not root", users)
	}
	for _, in := range last {
		switch in.Name {
		case "ADD", "RUN", "SHELL":
			t.Errorf("line %d: %s in the final image", in.Line, in.Name)
		case "ENTRYPOINT", "CMD", "HEALTHCHECK":
			if len(in.Exec) == 0 {
				t.Errorf("line %d: %s is not in exec form, and there is no shell", in.Line, in.Name)
			}
		}
	}
	for _, name := range []string{"ENTRYPOINT", "CMD", "HEALTHCHECK"} {
		if len(args(last, name)) != 1 {
			t.Errorf("%d %s instructions, want 1", len(args(last, name)), name)
		}
	}
	if got := args(last, "EXPOSE"); !slices.Equal(got, []string{"8080"}) {
		t.Errorf("exposes %v, want 8080", got)
	}
	if got := args(last, "VOLUME"); !slices.Equal(got, []string{`["/data"]`}) {
		t.Errorf("volumes %v, want /data: the root may be read-only", got)
	}
}

func TestBuildIsStaticAndPinned(t *testing.T) {
	all := dockerfile(t)
	mod := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(readFile(t, "../go.mod"))
	if from := args(all, "FROM"); len(from) != 2 || from[0] != "golang:"+mod[1]+" AS build" {
		t.Errorf("built from %v, want golang:%s, the release of go.mod", from, mod[1])
	}
	build := strings.Join(args(all, "RUN"), "\n")
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "timetzdata", "./cmd/maru"} {
		if !strings.Contains(build, want) {
			t.Errorf("the build lacks %s", want)
		}
	}
	for _, in := range all {
		if in.Name == "ARG" && regexp.MustCompile(`(?i)secret|password|token`).MatchString(in.Args) {
			t.Errorf("line %d: a build argument stays readable in the image: %s", in.Line, in.Args)
		}
	}
}

// TestIgnoredIsNotBuilt holds .dockerignore against the tree: no folder with Go code may be ignored.
func TestIgnoredIsNotBuilt(t *testing.T) {
	var ignored []string
	for line := range strings.Lines(readFile(t, "../.dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.ContainsAny(line, "/!") {
			t.Errorf("%s: this test understands only the first part of a path", line)
		}
		ignored = append(ignored, line)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		for _, pattern := range ignored {
			match, err := filepath.Match(pattern, entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			if match && needed(t, entry) {
				t.Errorf("%s is ignored by %s, but the build needs it", entry.Name(), pattern)
			}
		}
	}
	for _, secretive := range []string{".git", ".cache", ".env", "maru-data"} {
		if !slices.ContainsFunc(ignored, func(p string) bool { ok, _ := filepath.Match(p, secretive); return ok }) {
			t.Errorf("%s would be sent to the build", secretive)
		}
	}
}

func needed(t *testing.T, entry os.DirEntry) bool {
	t.Helper()
	if !entry.IsDir() {
		return strings.HasPrefix(entry.Name(), "go.") || strings.HasSuffix(entry.Name(), ".go")
	}
	goFiles, err := filepath.Glob(filepath.Join("..", entry.Name(), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return len(goFiles) > 0
}

func TestParseDockerfile(t *testing.T) {
	got, err := deploy.ParseDockerfile("# note: a=b\nfrom a AS b\n\nRUN one && \\\n# between\n  two\nCOPY --chown=1:1 --from=b /x /y\nCMD [\"/x\", \"-y z\"]\nHEALTHCHECK --interval=1s CMD [\"/h\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []deploy.Instruction{
		{Line: 2, Name: "FROM", Args: "a AS b"},
		{Line: 4, Name: "RUN", Args: "one && two"},
		{Line: 7, Name: "COPY", Flags: []string{"--chown=1:1", "--from=b"}, Args: "/x /y"},
		{Line: 8, Name: "CMD", Args: `["/x", "-y z"]`, Exec: []string{"/x", "-y z"}},
		{Line: 9, Name: "HEALTHCHECK", Flags: []string{"--interval=1s"}, Args: `CMD ["/h"]`, Exec: []string{"/h"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, bad := range []string{"RUN a \\\n", "CMD [\"a\"", "RUN <<EOF\na\nEOF", "# escape=`\nFROM a"} {
		if got, err := deploy.ParseDockerfile(bad); err == nil {
			t.Errorf("%q was taken: %+v", bad, got)
		}
	}
}

func FuzzParseDockerfile(f *testing.F) {
	f.Add("FROM a\nRUN b \\\n c\nCMD [\"d\"]\n")
	f.Add("HEALTHCHECK --x CMD [\"/h\"]")
	f.Add("# escape=`\nFROM a")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := deploy.ParseDockerfile(text)
		if err != nil {
			return
		}
		lines, last := strings.Count(text, "\n")+1, 0
		for _, in := range all {
			if in.Name == "" || in.Name != strings.ToUpper(in.Name) || in.Line <= last || in.Line > lines {
				t.Fatalf("instruction %+v of %d lines, after line %d", in, lines, last)
			}
			last = in.Line
		}
	})
}
