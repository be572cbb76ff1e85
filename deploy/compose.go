package deploy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// LoadCompose reads a compose file as docker compose does: it checks it by the schema, resolves
// variables, with env as the environment, and fills in what is left out.
func LoadCompose(ctx context.Context, path string, env map[string]string) (*types.Project, error) {
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  filepath.Dir(path),
		ConfigFiles: []types.ConfigFile{{Filename: path}},
		Environment: env,
	}, func(o *loader.Options) { o.SetProjectName("maru", true) })
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return project, nil
}

// Invocation is one way in which the deployment runs maru.
type Invocation struct {
	// Where is the place that says so: a service, with "health check" where it is one, or "Dockerfile".
	Where string
	// Args are the arguments after the program's name.
	Args []string
	// Env are the MARU_… variables that it sees, by their full name.
	Env map[string]string
}

// Invocations returns every command line of maru in compose.yaml and the Dockerfile in the folder
// root, with its environment, so that a test of the command line can parse them all.
func Invocations(ctx context.Context, root string) ([]Invocation, error) {
	image, err := imageOf(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	all := []Invocation{
		{"Dockerfile", image.command, image.env},
		{"Dockerfile health check", image.health, image.env},
	}
	project, err := LoadCompose(ctx, filepath.Join(root, "compose.yaml"), nil)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(slices.Values(project.ServiceNames())) {
		service := project.Services[name]
		if service.Build == nil {
			continue // another program's image
		}
		env := map[string]string{}
		for key, value := range image.env {
			env[key] = value
		}
		for key, value := range service.Environment {
			if value != nil && strings.HasPrefix(key, "MARU_") {
				env[key] = *value
			}
		}
		command := image.command
		if len(service.Command) > 0 {
			command = service.Command
		}
		all = append(all, Invocation{name, command, env})
		if check := service.HealthCheck; check != nil && !check.Disable {
			args, err := healthArgs(check.Test)
			if err != nil {
				return nil, fmt.Errorf("health check of %s: %w", name, err)
			}
			all = append(all, Invocation{name + " health check", args, env})
		}
	}
	return all, nil
}

// healthArgs are the arguments of maru in a health check: CMD /maru ….
func healthArgs(test []string) ([]string, error) {
	if len(test) < 2 || test[0] != "CMD" || test[1] != "/maru" {
		return nil, fmt.Errorf("%q does not run /maru itself, and the image has no shell", test)
	}
	return test[2:], nil
}

// image is what a Dockerfile's last stage says about running it.
type image struct {
	command, health []string
	env             map[string]string
}

func imageOf(path string) (image, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return image{}, err
	}
	instructions, err := ParseDockerfile(string(text))
	if err != nil {
		return image{}, fmt.Errorf("%s: %w", path, err)
	}
	im := image{env: map[string]string{}}
	for _, in := range LastStage(instructions) {
		switch in.Name {
		case "CMD":
			im.command = in.Exec
		case "HEALTHCHECK":
			if im.health, err = healthArgs(append([]string{"CMD"}, in.Exec...)); err != nil {
				return image{}, fmt.Errorf("%s: line %d: %w", path, in.Line, err)
			}
		case "ENV":
			for _, pair := range strings.Fields(in.Args) {
				key, value, ok := strings.Cut(pair, "=")
				if !ok || strings.ContainsAny(value, `"'\$`) {
					return image{}, fmt.Errorf("%s: line %d: ENV %s is not a plain KEY=VALUE", path, in.Line, pair)
				}
				im.env[key] = value
			}
		}
	}
	return im, nil
}
