package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"maru/deploy"
	"maru/internal/childproc"
)

const (
	// ready is what the server logs when it takes connections, after recovery if that was due.
	ready = "database system is ready to accept connections"
	// startPatience bounds initdb and each start on a machine that is busy with other tests.
	startPatience = time.Minute
	// stopPatience is how long the server may take to end after a signal.
	stopPatience = 15 * time.Second
	// superuser owns the cluster; databases of tests belong to the role owner, who is not one.
	superuser, owner = "postgres", "maru"
)

// Options say how the server runs; the zero value is for most tests.
type Options struct {
	// NoSync turns fsync, synchronous_commit and full_page_writes off: faster, but nothing that a
	// test learns about crashes counts then.
	NoSync bool
	// Settings are further server parameters, such as max_connections.
	Settings map[string]string
}

// Server is a PostgreSQL server with a data directory of its own. Its life (Stop, Kill, Pause, …)
// belongs to one goroutine at a time; the other methods may be called concurrently. mu guards
// process.
type Server struct {
	bin      string // folder of PostgreSQL's programs
	dir      *childproc.Dir
	account  *account
	port     int
	password string
	settings map[string]string
	log      childproc.Log
	created  atomic.Int64 // databases, for their names

	mu      sync.Mutex
	process *childproc.Process
}

// Launch makes a data directory and starts a server on it. The caller closes it.
func Launch(ctx context.Context, o Options) (*Server, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	acc, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := childproc.NewDir("maru-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, account: acc, password: rand.Text(), settings: maps.Clone(o.Settings)}
	if s.settings == nil {
		s.settings = map[string]string{}
	}
	if o.NoSync {
		for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			s.settings[name] = "off"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := s.initialize(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL: %w", err), s.Close())
	}
	return s, nil
}

func (s *Server) initialize(ctx context.Context) error {
	if err := s.account.own(s.dir.Path); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.dir.Path, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password), 0o600); err != nil {
		return err
	}
	if err := s.account.own(passwordFile); err != nil {
		return err
	}
	args := append(strings.Fields(deploy.InitdbArgs), "--auth-local=scram-sha-256", "--no-sync", "--no-instructions",
		"--username="+superuser, "--pwfile="+passwordFile, "--pgdata="+s.data())
	cmd := s.command("initdb", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	initdb, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	if err := initdb.Err(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out.Bytes())
	}
	ports, err := childproc.FreePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.admin(ctx, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, owner, s.password))
}

func (s *Server) data() string { return filepath.Join(s.dir.Path, "data") }

// command prepares one of PostgreSQL's programs, to be run by the server's account.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir.Path
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.SysProcAttr = s.account.attributes()
	return cmd
}

// Start starts the server again after it was stopped or killed, and returns when it takes
// connections; it recovers from its log first if it has to.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process.Running() {
		return errors.New("start PostgreSQL: it is running")
	}
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": s.dir.Path,
		"logging_collector":       "off",
		"log_destination":         "stderr",
		// Small, and with room for many tests beside each other.
		"shared_buffers":  "32MB",
		"max_connections": "200",
	}
	maps.Copy(settings, s.settings)
	args := []string{"-D", s.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	serving := s.log.Expect(ready)
	cmd := s.command("postgres", args...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	// Immediate shutdown: the postmaster ends its backends and gives back its shared memory.
	process, err := childproc.Start(cmd, syscall.SIGQUIT)
	if err != nil {
		return err
	}
	s.process = process
	select {
	case <-serving:
		return nil
	case <-process.Done():
		return fmt.Errorf("postgres ended before it served: %w\n%s", process.Err(), s.log.Tail(40))
	case <-ctx.Done():
		return fmt.Errorf("wait until postgres serves: %w\n%s", context.Cause(ctx), s.log.Tail(40))
	}
}

// DSN addresses a database of the server by TCP, as the role that owns the databases of tests.
func (s *Server) DSN(database string) string { return s.dsn(owner, database) }

// AdminDSN addresses a database as superuser, for what an ordinary role may not do.
func (s *Server) AdminDSN(database string) string { return s.dsn(superuser, database) }

func (s *Server) dsn(role, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, s.password),
		Host:     fmt.Sprintf("127.0.0.1:%d", s.port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// CreateDatabase makes an empty database and returns its name.
func (s *Server) CreateDatabase(ctx context.Context) (string, error) {
	name := fmt.Sprintf("test_%d", s.created.Add(1))
	return name, s.admin(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, owner))
}

// DropDatabase removes a database and closes the connections to it.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return s.admin(ctx, fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", pgx.Identifier{name}.Sanitize()))
}

// admin runs one statement as superuser.
func (s *Server) admin(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.AdminDSN("postgres"))
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, statement); err != nil {
		verb, _, _ := strings.Cut(statement, " ") // not the whole: it may hold the password
		return fmt.Errorf("%s as superuser: %w", verb, err)
	}
	return nil
}
