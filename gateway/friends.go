package gateway

import (
	"net/http"
	"net/url"
	"strconv"

	"maru"
	"maru/record"
)

// Lengths of pages of lists.
const (
	defaultPage = 100
	maxPage     = 200
)

// friendBody is a friend on the wire. User is null when the friend's account is
// gone: the entry stays until its owner removes it.
type friendBody struct {
	UserID  string       `json:"userId"`
	Alias   string       `json:"alias,omitempty"`
	AddedAt string       `json:"addedAt"`
	User    *record.User `json:"user"`
}

// friendsBody is a page of friends. Cursor asks for the next page, when there is one.
type friendsBody struct {
	Friends []friendBody `json:"friends"`
	Cursor  string       `json:"cursor,omitempty"`
}

// getFriends lists the friends with their profiles. The list is the user's own
// home's, each profile its owner's home's.
func (s *Server) getFriends(w http.ResponseWriter, r *request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	after := query.Get("cursor")
	if after != "" && !maru.ValidUserID(after) {
		return maru.Invalid("cursor", "the cursor is not one of a list of friends")
	}
	var page record.FriendsResult
	if err := s.ask(r, record.AskBody{What: record.AskFriends, After: after, Limit: limit}, &page); err != nil {
		return err
	}
	ids := make([]string, len(page.Friends))
	for i, f := range page.Friends {
		ids[i] = f.UserID
	}
	profiles, err := s.profiles(r.Context(), ids)
	if err != nil {
		return err
	}
	body := friendsBody{Friends: make([]friendBody, len(ids))}
	for i, f := range page.Friends {
		body.Friends[i] = friendBody{UserID: f.UserID, Alias: f.Alias, AddedAt: timeText(f.AddedAt)}
		if u, ok := profiles[f.UserID]; ok {
			body.Friends[i].User = &u
		}
	}
	if page.More && len(ids) > 0 {
		body.Cursor = ids[len(ids)-1]
	}
	return writeJSON(w, http.StatusOK, body)
}

// pageLimit reads the query parameter limit.
func pageLimit(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, maru.Invalid("limit", "the limit must be a number from 1 to "+strconv.Itoa(maxPage))
	}
	return n, nil
}

// putFriend adds a friend, or changes the owner's own name for one.
func (s *Server) putFriend(w http.ResponseWriter, r *request) error {
	var body struct {
		Alias *string `json:"alias"`
	}
	if err := decodeOptional(r, &body); err != nil {
		return err
	}
	alias := nfc(body.Alias)
	if alias != nil {
		if err := maru.CheckText("alias", *alias, maru.MaxUserName); err != nil {
			return err
		}
	}
	return s.changeFriend(w, r, record.FriendAdd, alias)
}

// deleteFriend removes a friend.
func (s *Server) deleteFriend(w http.ResponseWriter, r *request) error {
	return s.changeFriend(w, r, record.FriendRemove, nil)
}

func (s *Server) changeFriend(w http.ResponseWriter, r *request, kind record.Kind, alias *string) error {
	friend, err := s.pathUser(r)
	if err != nil {
		return err
	}
	cmd := s.command(r, kind)
	cmd.Friend = &record.FriendBody{Friend: friend, Alias: alias}
	if err := s.do(r.Context(), cmd, nil); err != nil {
		return err
	}
	return noContent(w)
}
