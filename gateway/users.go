package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"maru"
	"maru/record"
)

// maxIDs is how many profiles one request may ask for.
const maxIDs = 200

// postUsers registers a new user.
func (s *Server) postUsers(w http.ResponseWriter, r *request) error {
	var body struct {
		UserID   string `json:"userId"`
		UserPw   secret `json:"userPw"`
		Email    string `json:"email"`
		UserName string `json:"userName"`
	}
	defer func() { clear(body.UserPw) }()
	if err := decode(r, &body); err != nil {
		return err
	}
	user, err := maru.ParseUserID(body.UserID)
	if err != nil {
		return err
	}
	register := record.RegisterBody{Name: norm.NFC.String(body.UserName), Email: norm.NFC.String(body.Email)}
	if err := checkProfile(&register.Name, nil, &register.Email); err != nil {
		return err
	}
	if err := s.cfg.Policy.Check(user, body.UserPw); err != nil {
		return maru.Invalid("userPw", err.Error())
	}
	if err := s.limits.allow("register", s.cfg.Registrations, r.client, time.Now()); err != nil {
		return err
	}
	s.limits.spend("register", s.cfg.Registrations, r.client, time.Now())
	if register.Password, err = s.hash(r.Context(), body.UserPw); err != nil {
		return err
	}
	cmd := record.Command{Kind: record.Register, ID: s.commandID(r, user, string(body.UserPw)), User: user, Register: &register}
	var result record.UserResult
	if err := s.do(r.Context(), cmd, &result); err != nil {
		return err
	}
	w.Header().Set("Location", "/api/users/"+user)
	return writeJSON(w, http.StatusCreated, result.User)
}

// checkProfile checks the texts of a profile; nil is not given.
func checkProfile(name, status, email *string) error {
	if name != nil {
		if err := maru.CheckText("userName", *name, maru.MaxUserName); err != nil {
			return err
		}
	}
	if status != nil {
		if err := maru.CheckText("userStatus", *status, maru.MaxUserStatus); err != nil {
			return err
		}
	}
	if email != nil {
		return maru.CheckEmail(*email)
	}
	return nil
}

// pathUser returns the user id in the path, folded. One that cannot exist is
// refused like one that does not, and to the signed-in only.
func (s *Server) pathUser(r *request) (string, error) {
	user, err := maru.ParseUserID(r.PathValue("userId"))
	if err == nil {
		return user, nil
	}
	if err := s.checkSession(r); err != nil {
		return "", err
	}
	return "", errNoUser()
}

func errNoUser() error { return &maru.Error{Code: maru.CodeCannotFindUser} }

// getUser answers the public profile of one user.
func (s *Server) getUser(w http.ResponseWriter, r *request) error {
	user, err := s.pathUser(r)
	if err != nil {
		return err
	}
	found, err := s.profilesFor(r, []string{user})
	if err != nil {
		return err
	}
	profile, ok := found[user]
	if !ok {
		return errNoUser()
	}
	return writeJSON(w, http.StatusOK, profile)
}

// usersBody is the answer to a question for several users.
type usersBody struct {
	Users []record.User `json:"users"`
}

// getUsers answers the public profiles of ids, in their order; who does not exist is left out.
func (s *Server) getUsers(w http.ResponseWriter, r *request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	ids, err := userIDs(query.Get("ids"))
	if err != nil {
		return err
	}
	found, err := s.profilesFor(r, ids)
	if err != nil {
		return err
	}
	body := usersBody{Users: make([]record.User, 0, len(ids))}
	for _, id := range ids {
		if u, ok := found[id]; ok {
			body.Users = append(body.Users, u)
		}
	}
	return writeJSON(w, http.StatusOK, body)
}

// userIDs reads a list of user ids with commas between them. Ids that cannot
// exist and repetitions are left out.
func userIDs(list string) ([]string, error) {
	if list == "" {
		return nil, maru.Invalid("ids", "name the users: ids=a,b,c")
	}
	var ids []string
	seen := make(map[string]bool)
	n := 0
	for text := range strings.SplitSeq(list, ",") {
		if n++; n > maxIDs {
			return nil, maru.Invalid("ids", "ask for at most "+strconv.Itoa(maxIDs)+" users at a time")
		}
		id, err := maru.ParseUserID(text)
		if err == nil && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// parseQuery reads the query of r; one that is not form-encoded is refused
// instead of read in part.
func parseQuery(r *request) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, maru.Invalid("", "the query of the address is not properly encoded")
	}
	return query, nil
}

// flag reads a query parameter that is absent, 0, 1, false or true.
func flag(query url.Values, name string) (bool, error) {
	switch query.Get(name) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, maru.Invalid(name, "the parameter must be true or false")
}
