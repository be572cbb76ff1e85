package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"maru"
)

// Parts of a User-Agent header that name a browser or a system, in the order in
// which they count: most browsers also claim to be those further down.
var (
	browsers = [][2]string{
		{"Whale/", "Whale"}, {"SamsungBrowser/", "Samsung Internet"}, {"Edg", "Edge"}, {"OPR/", "Opera"},
		{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"Mac OS X", "Mac"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// deviceName makes a name out of a User-Agent header by which people recognise
// a device in the list of their sessions: "Firefox on Linux". What is no browser
// is shown as it calls itself, made printable and cut.
func deviceName(userAgent string) string {
	if strings.HasPrefix(userAgent, "Mozilla/") {
		browser, system := firstOf(browsers, userAgent), firstOf(systems, userAgent)
		switch {
		case browser != "" && system != "":
			return browser + " on " + system
		case browser != "" || system != "":
			return browser + system
		}
	}
	printable := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, userAgent)
	// Cut last: the normal form of few characters can be longer than they were.
	name := strings.TrimSpace(shorten(strings.TrimSpace(norm.NFC.String(printable)), maru.MaxDevice))
	if name == "" {
		return "unknown device"
	}
	return name
}

func firstOf(marks [][2]string, s string) string {
	for _, m := range marks {
		if strings.Contains(s, m[0]) {
			return m[1]
		}
	}
	return ""
}
