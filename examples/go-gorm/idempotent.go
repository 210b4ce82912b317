package main

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// Answer is a status and a body.
type Answer struct {
	Status int
	Body   json.RawMessage
}

type claim struct {
	Outcome    string
	Proceed    bool
	StatusCode int
	Response   json.RawMessage
}

// Idempotent runs work once for each key of the scope.
//
// Claim, work and answer are one transaction.  An error rolls all of it back,
// and a retry runs work again.
func Idempotent(db *gorm.DB, key, scope string, request any, work func(*gorm.DB) (int, any, error)) (a Answer, err error) {
	payload, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		var c claim
		err := tx.Raw(`SELECT * FROM idempotency.claim(?, ?, ?)`, key, scope, string(payload)).Scan(&c).Error
		if err != nil {
			return err
		}
		if c.Outcome == "replay" {
			a = Answer{c.StatusCode, c.Response}
			return nil
		}
		if !c.Proceed {
			a, err = NewAnswer(c.StatusCode, map[string]string{"title": c.Outcome})
			return err
		}

		status, body, err := work(tx)
		if err != nil {
			return err
		}
		if a, err = NewAnswer(status, body); err != nil {
			return err
		}
		return tx.Exec(`SELECT idempotency.complete(?, ?, ?, status_code => ?)`,
			key, scope, string(a.Body), a.Status).Error
	})
	return a, err
}

func NewAnswer(status int, body any) (Answer, error) {
	text, err := json.Marshal(body)
	return Answer{status, text}, err
}

// StatusOf is the HTTP status that the extension's SQLSTATEs end in.
func StatusOf(err error) int {
	var e *pgconn.PgError
	if errors.As(err, &e) && strings.HasPrefix(e.Code, "IK") {
		status, _ := strconv.Atoi(e.Code[2:])
		return status
	}
	return 500
}
