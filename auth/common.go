package auth

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/ccojocar/zxcvbn-go/data"
)

// commonPasswords returns some seven thousand of the commonest passwords, in lower case:
// the list behind the password meter zxcvbn, gathered from leaks. The map is shared and
// not to be changed. It is read when first wanted: homes never want it.
var commonPasswords = sync.OnceValues(func() (map[string]struct{}, error) {
	asset, err := data.Asset("data/Passwords.json")
	if err != nil {
		return nil, fmt.Errorf("list of common passwords: %w", err)
	}
	var file struct{ List []string }
	if err := json.Unmarshal(asset, &file); err != nil {
		return nil, fmt.Errorf("list of common passwords: %w", err)
	}
	set := make(map[string]struct{}, len(file.List))
	for _, password := range file.List {
		set[strings.ToLower(password)] = struct{}{}
	}
	return set, nil
})
