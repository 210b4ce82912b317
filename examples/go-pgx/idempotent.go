package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

type problem struct {
	Title string `json:"title"`
}

// idempotent runs work once for each key of the scope; its answer is a status
// and a body.
//
// Claim, work and answer are one transaction.  An error rolls all of it back,
// and a retry runs work again.
func idempotent(ctx context.Context, db *pgxpool.Pool, key, scope string, request any,
	work func(pgx.Tx) (int, any, error)) (status int, body any, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var outcome string
		var proceed bool
		var statusCode *int
		err := tx.QueryRow(ctx, `SELECT outcome, proceed, status_code, response FROM idempotency.claim($1, $2, $3)`,
			key, scope, request).Scan(&outcome, &proceed, &statusCode, &body)
		if err != nil {
			return err
		}
		if outcome == "replay" {
			status = *statusCode
			return nil
		}
		if !proceed {
			status, body = *statusCode, problem{outcome}
			return nil
		}

		if status, body, err = work(tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `SELECT idempotency.complete($1, $2, $3, status_code => $4)`, key, scope, body, status)
		return err
	})
	return status, body, err
}

// statusOf is the HTTP status that the extension's SQLSTATEs end in.
func statusOf(err error) int {
	var e *pgconn.PgError
	if errors.As(err, &e) && strings.HasPrefix(e.Code, "IK") {
		status, _ := strconv.Atoi(e.Code[2:])
		return status
	}
	return 500
}
