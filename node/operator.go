package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"maru"
	"maru/auth"
	"maru/home"
	"maru/kafka"
	"maru/record"
)

// Operator does what administrators ask at the command line, by commands in the
// log like everybody else. It is safe for concurrent use; mu owns line.
type Operator struct {
	n    *Node
	mu   sync.Mutex
	line *line
}

// homes returns a line to the homes, opened at the first use: a process that
// nobody administrates reads no delivery for it.
func (o *Operator) homes(ctx context.Context) (*line, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line == nil {
		l, err := o.n.openLine(ctx, "operator", nil, func(err error) {
			o.n.log.Warn("the operator's place in delivery is lost", "err", err)
			go o.reset()
		})
		if err != nil {
			return nil, err
		}
		o.line = l
	}
	return o.line, nil
}

// reset closes the line; the next use opens another.
func (o *Operator) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line != nil {
		o.line.close()
		o.line = nil
	}
}

// do sends a command under a new id and turns a refusal into an error.
func (o *Operator) do(ctx context.Context, c record.Command) (record.Reply, error) {
	l, err := o.homes(ctx)
	if err != nil {
		return record.Reply{}, err
	}
	c.ID = maru.NewCommandID()
	r, err := l.homes.Do(ctx, c)
	if err == nil && r.Code != "" {
		err = &maru.Error{Code: r.Code, Field: r.Field, Message: refusals[r.Code]}
	}
	return r, err
}

var refusals = map[maru.Code]string{
	maru.CodeDuplicate:      "this user id is taken, or was: choose another",
	maru.CodeCannotFindUser: "nobody has this user id",
	maru.CodeInvalid:        "the home refused what was given",
}

// NewUser is what AddUser makes a user of.
type NewUser struct {
	UserID    string `json:"userId"`
	Password  string `json:"userPw"`
	Name      string `json:"userName,omitempty"`
	Status    string `json:"userStatus,omitempty"`
	Email     string `json:"email,omitempty"`
	Admin     bool   `json:"admin,omitempty"`
	AllowWeak bool   `json:"allowWeak,omitempty"`
}

// AddUser opens an account.
func (o *Operator) AddUser(ctx context.Context, u NewUser) error {
	id, err := maru.ParseUserID(u.UserID)
	if err != nil {
		return err
	}
	hash, err := o.hash(ctx, id, u.Password, u.AllowWeak)
	if err != nil {
		return err
	}
	_, err = o.do(ctx, record.Command{Kind: record.Register, User: id, Register: &record.RegisterBody{
		Password: hash, Name: u.Name, Status: u.Status, Email: u.Email, Admin: u.Admin,
	}})
	return err
}

// SetPassword sets a user's password and ends all sessions of the user.
func (o *Operator) SetPassword(ctx context.Context, userID, password string, allowWeak bool) error {
	id, err := maru.ParseUserID(userID)
	if err != nil {
		return err
	}
	hash, err := o.hash(ctx, id, password, allowWeak)
	if err != nil {
		return err
	}
	_, err = o.do(ctx, record.Command{Kind: record.PasswordSet, User: id, PasswordSet: &record.PasswordSetBody{Password: hash}})
	return err
}

// SetAdmin makes a user an administrator, or no longer one.
func (o *Operator) SetAdmin(ctx context.Context, userID string, on bool) error {
	id, err := maru.ParseUserID(userID)
	if err != nil {
		return err
	}
	_, err = o.do(ctx, record.Command{Kind: record.AdminSet, User: id, AdminSet: &record.AdminSetBody{Admin: on}})
	return err
}

func (o *Operator) hash(ctx context.Context, id, password string, allowWeak bool) (hash string, err error) {
	policy, err := auth.NewPolicy(o.n.cfg.PasswordMin, allowWeak)
	if err != nil {
		return "", err
	}
	if err := policy.Check(id, []byte(password)); err != nil {
		return "", &maru.Error{Code: maru.CodeInvalid, Field: "userPw", Message: err.Error()}
	}
	busy := o.n.pool.Do(ctx, func() { hash, err = o.n.hasher.Hash([]byte(password)) })
	if busy != nil {
		return "", busy
	}
	return hash, err
}

// Whereabouts is where a user is.
type Whereabouts struct {
	UserID    string    `json:"userId"`
	Partition int32     `json:"partition"`
	Home      string    `json:"home,omitempty"`
	Epoch     int64     `json:"epoch,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Resident  bool      `json:"resident"`
	Answered  bool      `json:"answered"` // by the home itself; else as SQL has it
}

// Where asks the home of a user. If none answers within the limit, the last
// owner that SQL knows is told.
func (o *Operator) Where(ctx context.Context, userID string) (w Whereabouts, err error) {
	id, err := maru.ParseUserID(userID)
	if err != nil {
		return w, err
	}
	w = Whereabouts{UserID: id, Partition: maru.SlotOf(id, o.n.cluster.partitions)}
	asked, cancel := context.WithTimeout(ctx, whereLimit)
	defer cancel()
	var r record.WhereResult
	reply, err := o.do(asked, record.Command{Kind: record.Where, User: id})
	if err == nil {
		err = unmarshal(reply.Result, &r)
	}
	if err == nil {
		w.Home, w.Epoch, w.Since, w.Resident, w.Answered = r.Home, r.Epoch, time.UnixMilli(r.Since), r.Resident, true
		return w, nil
	}
	slots, serr := o.n.store.Slots(ctx)
	if serr != nil {
		return w, fmt.Errorf("no home answers (%w), and the database does not either: %w", err, serr)
	}
	for _, s := range slots {
		if s.Slot == w.Partition {
			w.Home, w.Epoch, w.Since = s.Owner, s.Epoch, time.UnixMilli(s.ClaimedAt)
		}
	}
	return w, nil
}

// whereLimit is how long a home has to answer where.
const whereLimit = 3 * time.Second

// TopicTable is what `maru topics` shows.
type TopicTable struct {
	Topics []kafka.TopicInfo `json:"topics"`
	Slots  []SlotLag         `json:"slots"`
}

// SlotLag is how far a slot's checkpoint is behind its log.
type SlotLag struct {
	Slot       int32     `json:"slot"`
	Owner      string    `json:"owner"`
	Epoch      int64     `json:"epoch"`
	Since      time.Time `json:"since"`
	Checkpoint int64     `json:"checkpoint"` // first offset of commands not in SQL
	End        int64     `json:"end"`
	Lag        int64     `json:"lag"`
	Logins     int64     `json:"logins"` // requests without an answer, -1 unknown
}

// Topics describes the topics, and the slots with their lag.
func (o *Operator) Topics(ctx context.Context) (t TopicTable, err error) {
	if t.Topics, err = o.n.admin.Describe(ctx, o.n.cfg.layout(o.n.cluster.partitions), o.n.cfg.Group); err != nil {
		return t, err
	}
	ends := map[string]map[int32]int64{}
	for _, topic := range t.Topics {
		ends[topic.Topic] = map[int32]int64{}
		for _, p := range topic.Partitions {
			ends[topic.Topic][p.Partition] = p.End
		}
	}
	slots, err := o.n.store.Slots(ctx)
	for _, s := range slots {
		l := SlotLag{Slot: s.Slot, Owner: s.Owner, Epoch: s.Epoch, Since: time.UnixMilli(s.ClaimedAt), Checkpoint: s.Next, End: -1, Lag: -1, Logins: -1}
		if end, ok := ends[o.n.cfg.Topics.Commands][s.Slot]; ok && end >= 0 {
			l.End, l.Lag = end, end-s.Next
		}
		if end, ok := ends[o.n.cfg.Topics.LoginRequest][s.Slot]; ok && end >= 0 && s.LoginNext >= 0 {
			l.Logins = end - s.LoginNext
		}
		t.Slots = append(t.Slots, l)
	}
	return t, err
}

// Residents returns what this process holds, none if it is no home.
func (o *Operator) Residents(ctx context.Context) ([]home.Residents, error) {
	if o.n.home == nil {
		return []home.Residents{}, nil
	}
	return o.n.home.home.Residents(ctx)
}
