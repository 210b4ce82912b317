package main

import (
	"encoding/json"
	"errors"
	"strconv"

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
	StatusCode int
	Response   json.RawMessage
}

var errUndone = errors.New("undone")

// Idempotent runs work once for each key of the scope.
//
// Claim, work and answer are one transaction.  An error, and an answer of 500 and
// above, undoes all of it, and a retry runs work again.  The request is
// compared: over HTTP, pass method, path, query and body.
func Idempotent(db *gorm.DB, key, scope string, request any, work func(*gorm.DB) (int, any, error)) (a Answer, err error) {
	payload, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		var c claim
		err := tx.Raw(`SELECT * FROM idempotency.claim(key => ?, scope => ?, request => ?)`,
			key, scope, string(payload)).Scan(&c).Error
		if err != nil {
			return err
		}
		switch c.Outcome {
		case "new":
		case "replay":
			a = Answer{c.StatusCode, c.Response}
			return nil
		case "recovered":
			// A previous owner has committed a part of the work.
			return errors.New("claims of the scope have a lease: " + scope)
		default:
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
		if a.Status >= 500 {
			return errUndone
		}
		return tx.Exec(`SELECT idempotency.complete(key => ?, scope => ?, response => ?, status_code => ?)`,
			key, scope, string(a.Body), a.Status).Error
	})
	if errors.Is(err, errUndone) {
		return a, nil
	}
	return a, err
}

func NewAnswer(status int, body any) (Answer, error) {
	text, err := json.Marshal(body)
	return Answer{status, text}, err
}

// StatusOf is the HTTP status of an error that the client has caused; any other
// error is the service's own fault.
func StatusOf(err error) int {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code {
		case "IK400", "IK409", "IK412", "IK413", "IK422":
			status, _ := strconv.Atoi(e.Code[2:])
			return status
		}
	}
	return 500
}
