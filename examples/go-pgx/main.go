package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// wrong is the handler that promises.pl also needs: it pays, and then goes wrong.
func wrong(ctx context.Context, tx pgx.Tx, r *http.Request) (answer, error) {
	a, err := pay(ctx, tx, r)
	if err != nil {
		return a, err
	}
	switch r.PathValue("how") {
	case "commit":
		_, err = tx.Exec(ctx, "COMMIT")
	case "caught":
		if _, err = tx.Exec(ctx, "SELECT 1/0"); err != nil {
			return answer{Status: 409}, nil
		}
	case "unavailable":
		a.Status = 503
	case "nothing":
		a = answer{Status: 204}
	default:
		err = errors.New("broken")
	}
	return a, err
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	// PgBouncer before 1.21 does not support prepared statements.  In this mode
	// a statement is described each time, with no name.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	db, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	mux := routes(db)
	mux.HandleFunc("POST /payments/{how}", idempotency{db, customerOf}.handle("payments", wrong))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux))
}
