package gateway

import (
	"net/http"
	"slices"
	"strings"

	"maru"
)

// access says who may use a route.
type access int

const (
	system    access = iota // operators and load balancers, also while the gateway is not ready
	anonymous               // anybody
	signedIn                // whoever has a token; the home judges its session
)

// route is a line of the route table. pattern is one of net/http's, without method.
type route struct {
	method  string
	pattern string
	access  access
	handle  func(*Server, http.ResponseWriter, *request) error
}

// routeTable is the REST interface: what is not here does not exist.
var routeTable = []route{
	{"POST", "/api/users", anonymous, (*Server).postUsers},
	{"POST", "/api/login", anonymous, (*Server).postLogin},
	{"POST", "/api/logout", signedIn, (*Server).postLogout},
	{"GET", "/api/me", signedIn, (*Server).getMe},
	{"PATCH", "/api/me", signedIn, (*Server).patchMe},
	{"PUT", "/api/me/password", signedIn, (*Server).putPassword},
	{"GET", "/api/me/sessions", signedIn, (*Server).getSessions},
	{"DELETE", "/api/me/sessions/{id}", signedIn, (*Server).deleteSession},
	{"GET", "/api/users", signedIn, (*Server).getUsers},
	{"GET", "/api/users/{userId}", signedIn, (*Server).getUser},
	{"GET", "/api/friends", signedIn, (*Server).getFriends},
	{"PUT", "/api/friends/{userId}", signedIn, (*Server).putFriend},
	{"DELETE", "/api/friends/{userId}", signedIn, (*Server).deleteFriend},
	{"GET", "/healthz", system, (*Server).getHealth},
	{"GET", "/readyz", system, (*Server).getReady},
	{"GET", "/metrics", system, (*Server).getMetrics},
}

// routes builds the mux: one entry per pattern that tells methods apart itself, so
// that a wrong method is refused like everything else, as a problem.
func (s *Server) routes() (*http.ServeMux, map[string]bool) {
	methods := make(map[string]map[string]route)
	for _, rt := range routeTable {
		if methods[rt.pattern] == nil {
			methods[rt.pattern] = make(map[string]route)
		}
		methods[rt.pattern][rt.method] = rt
		if rt.method == http.MethodGet {
			methods[rt.pattern][http.MethodHead] = rt
		}
	}
	mux := http.NewServeMux()
	known := make(map[string]bool, len(methods))
	for pattern, byMethod := range methods {
		known[pattern] = true
		allow := allowed(byMethod)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, hr *http.Request) {
			r := requestOf(hr)
			rt, ok := byMethod[hr.Method]
			if !ok {
				w.Header().Set("Allow", allow)
				s.refuse(w, r, &maru.Error{Code: codeMethodNotAllowed, Message: "this path takes " + allow})
				return
			}
			s.serveRoute(w, r, rt)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, hr *http.Request) { s.refuse(w, requestOf(hr), errNoPath()) })
	return mux, known
}

// requestOf returns the request that ServeHTTP put beside hr.
func requestOf(hr *http.Request) *request { return hr.Context().Value(requestKey{}).(*request) }

func allowed(byMethod map[string]route) string {
	var names []string
	for m := range byMethod {
		names = append(names, m)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
