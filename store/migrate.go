package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrate applies the migrations that the database lacks, each in its own
// transaction (the caller keeps other processes out meanwhile), and refuses a database that a newer program has migrated: its rows
// may mean something this one does not know.
func migrate(ctx context.Context, db *sql.DB, d *dialect, log *slog.Logger) error {
	folder, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.goose, db, folder, goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate the schema: %w", err)
	}
	for _, r := range done {
		log.Info("database migrated", "version", r.Source.Version, "took", r.Duration)
	}
	current, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if current > newest {
		return fmt.Errorf("the database has schema version %d and this maru knows %d: use the maru that wrote it, or a newer one", current, newest)
	}
	return nil
}
