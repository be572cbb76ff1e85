package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"maru/home"
	"maru/kafka"
	"maru/node"
)

// jsonFlag is taken by commands whose result a program may read.
type jsonFlag struct {
	JSON bool `name:"json" help:"Write the result as JSON."`
}

// write shows v as JSON or by table.
func (j *jsonFlag) write(w io.Writer, v any, table func(io.Writer)) error {
	if !j.JSON {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		table(tw)
		return tw.Flush()
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

type whereCmd struct {
	userArg
	jsonFlag
	adminFlags
}

// Run shows where the user is.
func (c *whereCmd) Run(w *world) error {
	var at node.Whereabouts
	err := c.with(w, nil, func(ctx context.Context, op operator) (err error) {
		at, err = op.Where(ctx, c.ID)
		return err
	})
	if err != nil {
		return plain(err)
	}
	return c.write(w.stdout, at, func(w io.Writer) { whereTable(w, at) })
}

func whereTable(w io.Writer, at node.Whereabouts) {
	fmt.Fprintf(w, "user\t%s\n", at.UserID)
	fmt.Fprintf(w, "partition\t%d\n", at.Partition)
	fmt.Fprintf(w, "home\t%s\n", orNone(at.Home))
	fmt.Fprintf(w, "epoch\t%d\n", at.Epoch)
	fmt.Fprintf(w, "since\t%s\n", sinceText(at.Since))
	switch {
	case !at.Answered:
		fmt.Fprint(w, "resident\tunknown: the home does not answer, this is what the database says\n")
	case at.Resident:
		fmt.Fprint(w, "resident\tyes\n")
	default:
		fmt.Fprint(w, "resident\tno\n")
	}
}

type topicsCmd struct {
	jsonFlag
	adminFlags
}

// Run shows topics and slots.
func (c *topicsCmd) Run(w *world) error {
	var t node.TopicTable
	err := c.with(w, nil, func(ctx context.Context, op operator) (err error) {
		t, err = op.Topics(ctx)
		return err
	})
	if err != nil {
		return plain(err)
	}
	return c.write(w.stdout, t, func(w io.Writer) { topicTables(w, t) })
}

func topicTables(w io.Writer, t node.TopicTable) {
	fmt.Fprint(w, "TOPIC\tPARTITIONS\tLEADERS\tREPLICAS\tIN-SYNC\tRECORDS\tLAG\n")
	for _, topic := range t.Topics {
		fmt.Fprintln(w, strings.Join(topicLine(topic), "\t"))
	}
	fmt.Fprint(w, "\nSLOT\tOWNER\tEPOCH\tSINCE\tCHECKPOINT\tEND\tLAG\tLOGINS WAITING\n")
	for _, s := range t.Slots {
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%d\t%s\t%s\t%s\n", s.Slot, orNone(s.Owner), s.Epoch, sinceText(s.Since),
			s.Checkpoint, known(s.End), known(s.Lag), known(s.Logins))
	}
}

// topicLine sums up a topic. A partition that differs from the rest shows: the
// numbers of replicas and in-sync ones are those of the partition with fewest.
func topicLine(t kafka.TopicInfo) []string {
	var leaders []int
	replicas, inSync, records, lag := -1, -1, int64(0), int64(0)
	lagKnown := false
	for _, p := range t.Partitions {
		if !slices.Contains(leaders, int(p.Leader)) {
			leaders = append(leaders, int(p.Leader))
		}
		if replicas < 0 || len(p.Replicas) < replicas {
			replicas = len(p.Replicas)
		}
		if inSync < 0 || len(p.ISR) < inSync {
			inSync = len(p.ISR)
		}
		if p.End >= 0 && p.Start >= 0 {
			records += p.End - p.Start
		}
		if p.Lag >= 0 {
			lagKnown = true
			lag += p.Lag
		}
	}
	slices.Sort(leaders)
	names := make([]string, len(leaders))
	for i, l := range leaders {
		names[i] = strconv.Itoa(l)
		if l < 0 {
			names[i] = "none"
		}
	}
	lagText := "-"
	if lagKnown {
		lagText = strconv.FormatInt(lag, 10)
	}
	return []string{t.Topic, strconv.Itoa(len(t.Partitions)), strings.Join(names, ","), known(int64(replicas)), known(int64(inSync)), strconv.FormatInt(records, 10), lagText}
}

type residentsCmd struct {
	jsonFlag
	dataFlags
}

// Run shows what the process on the data directory holds.
func (c *residentsCmd) Run(w *world) error {
	ctx, cancel := context.WithTimeout(w.ctx, askLimit)
	defer cancel()
	held, err := newSocket(c.Data).Residents(ctx)
	if err != nil {
		return plain(err)
	}
	return c.write(w.stdout, held, func(w io.Writer) { residentTable(w, held) })
}

func residentTable(w io.Writer, held []home.Residents) {
	fmt.Fprint(w, "SLOT\tEPOCH\tSINCE\tLIVE\tUSERS\tWHO\n")
	for _, s := range held {
		live := "yes"
		if !s.Live {
			live = "no"
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%s\n", s.Slot, s.Epoch, sinceText(time.UnixMilli(s.Since)), live, len(s.Users), strings.Join(s.Users, " "))
	}
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// known writes a number of which -1 means that nobody can tell.
func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func sinceText(t time.Time) string {
	if t.IsZero() || t.UnixMilli() == 0 {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
