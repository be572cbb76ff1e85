package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Instruction is one instruction of a Dockerfile.
type Instruction struct {
	// Line is where it begins, from 1.
	Line int
	// Name is in upper case: FROM, COPY, …
	Name string
	// Flags are the options before the arguments, such as --chown=1:1.
	Flags []string
	// Args is the rest as written, continued lines joined by a space.
	Args string
	// Exec is Args as a list where it is in exec form (a JSON array); nil in shell form. Of a
	// HEALTHCHECK it is the list after CMD.
	Exec []string
}

// ParseDockerfile splits a Dockerfile into instructions: comments, continued lines and the exec form,
// but neither here-documents nor parser directives, which it refuses.
func ParseDockerfile(text string) ([]Instruction, error) {
	var all []Instruction
	logical, begin := "", 0
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if comment, ok := strings.CutPrefix(trimmed, "#"); ok {
			// A directive (# syntax=…, # escape=…) changes how the file is read.
			key, _, directive := strings.Cut(comment, "=")
			if directive && len(all) == 0 && !strings.Contains(strings.TrimSpace(key), " ") {
				return nil, fmt.Errorf("line %d: parser directive %q is not understood", i+1, strings.TrimSpace(key))
			}
			continue
		}
		if trimmed == "" {
			continue
		}
		if logical == "" {
			begin = i + 1
		}
		part, continued := strings.CutSuffix(trimmed, `\`)
		logical = strings.TrimSpace(logical + " " + strings.TrimSpace(part))
		if continued {
			continue
		}
		in, err := parseInstruction(logical)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", begin, err)
		}
		in.Line = begin
		all = append(all, in)
		logical = ""
	}
	if logical != "" {
		return nil, fmt.Errorf("line %d: the file ends in a continued line", begin)
	}
	return all, nil
}

func parseInstruction(text string) (Instruction, error) {
	if strings.Contains(text, "<<") {
		return Instruction{}, fmt.Errorf("here-documents are not understood: %s", text)
	}
	name, rest, _ := strings.Cut(text, " ")
	in := Instruction{Name: strings.ToUpper(name)}
	for {
		rest = strings.TrimSpace(rest)
		if !strings.HasPrefix(rest, "--") {
			break
		}
		var flag string
		flag, rest, _ = strings.Cut(rest, " ")
		in.Flags = append(in.Flags, flag)
	}
	in.Args = rest
	list := rest
	if in.Name == "HEALTHCHECK" {
		command, ok := strings.CutPrefix(rest, "CMD ")
		if !ok {
			return in, nil // HEALTHCHECK NONE
		}
		list = strings.TrimSpace(command)
	}
	if strings.HasPrefix(list, "[") {
		if err := json.Unmarshal([]byte(list), &in.Exec); err != nil {
			return Instruction{}, fmt.Errorf("exec form of %s: %w", in.Name, err)
		}
	}
	return in, nil
}

// LastStage returns the instructions from the last FROM on: the stage that becomes the image.
func LastStage(all []Instruction) []Instruction {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Name == "FROM" {
			return all[i:]
		}
	}
	return nil
}
