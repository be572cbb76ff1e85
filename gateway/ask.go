package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"maru"
	"maru/auth"
	"maru/record"
)

// do sends a command of a user to that user's home and reads the result of the reply into
// result, unless that is nil. A refusal by the home is an error.
func (s *Server) do(ctx context.Context, cmd record.Command, result any) error {
	reply, err := s.homes.Do(ctx, cmd)
	return outcome(reply, err, result)
}

// ask asks the home of whoever is signed in.
func (s *Server) ask(r *request, body record.AskBody, result any) error {
	return s.do(r.Context(), record.Command{
		Kind: record.Ask, ID: maru.NewCommandID(), User: r.who.User, Session: r.who.Session, Ask: &body,
	}, result)
}

// checkSession asks the home of whoever is signed in whether the session lives,
// for requests that concern that home in no other way.
func (s *Server) checkSession(r *request) error {
	return s.ask(r, record.AskBody{What: record.AskMe}, nil)
}

// outcome turns the reply to a command into a result or an error.
func outcome(reply record.Reply, err error, result any) error {
	if err != nil {
		return err
	}
	if reply.Code != "" {
		return refusal(reply)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		return fmt.Errorf("result of command %s: %w", reply.ID, err)
	}
	return nil
}

// refusal is what a home refused, as an error.
func refusal(reply record.Reply) error {
	return &maru.Error{
		Code: reply.Code, Message: reply.Message, Field: reply.Field,
		RetryAfter: time.Duration(reply.RetryAfterMS) * time.Millisecond,
	}
}

// profiles returns the public profiles of ids, each asked of its own home: one
// question for each slot, all at once. Who does not exist is absent.
func (s *Server) profiles(ctx context.Context, ids []string) (map[string]record.User, error) {
	bySlot := make(map[int32][]string)
	for _, id := range ids {
		slot := s.homes.Slot(id)
		bySlot[slot] = append(bySlot[slot], id)
	}
	results := make(chan record.UsersResult, len(bySlot))
	g, ctx := errgroup.WithContext(ctx)
	for slot, users := range bySlot {
		g.Go(func() error {
			var result record.UsersResult
			reply, err := s.homes.DoAt(ctx, slot, record.Command{
				Kind: record.Ask, ID: maru.NewCommandID(), Ask: &record.AskBody{What: record.AskUsers, Users: users},
			})
			if err := outcome(reply, err, &result); err != nil {
				return err
			}
			results <- result
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	close(results)
	found := make(map[string]record.User, len(ids))
	for result := range results {
		for _, u := range result.Users {
			u.Email, u.Admin, u.AddedBy = "", false, 0 // what is the user's own stays so, whatever a home sends
			found[u.UserID] = u
		}
	}
	return found, nil
}

// profilesFor is profiles for whoever is signed in: the session is checked by its own home at the same time,
// and its refusal counts before anything else.
func (s *Server) profilesFor(r *request, ids []string) (map[string]record.User, error) {
	var sessionErr error
	var g errgroup.Group
	g.Go(func() error {
		sessionErr = s.checkSession(r)
		return nil
	})
	found, err := s.profiles(r.Context(), ids)
	g.Wait()
	if sessionErr != nil {
		return nil, sessionErr
	}
	return found, err
}

// onPool does password work on the bounded pool.
func (s *Server) onPool(ctx context.Context, work func()) error {
	switch err := s.cfg.Pool.Do(ctx, work); {
	case errors.Is(err, auth.ErrBusy):
		return &maru.Error{Code: maru.CodeTooMany, Message: err.Error(), RetryAfter: time.Second}
	case errors.Is(err, auth.ErrPoolClosed):
		return unavailable("this gateway is shutting down; repeat the request", err)
	default:
		return err
	}
}

// hash returns the hash of a new password.
func (s *Server) hash(ctx context.Context, password secret) (encoded string, err error) {
	if poolErr := s.onPool(ctx, func() { encoded, err = s.cfg.Hasher.Hash(password) }); poolErr != nil {
		return "", poolErr
	}
	return encoded, err
}
