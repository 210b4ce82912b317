package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// answer is what a handler returns; without a body, Body is nil.
type answer struct {
	Status int
	Header map[string]string
	Body   any
}

type handler func(ctx context.Context, tx pgx.Tx, r *http.Request) (answer, error)

// idempotency carries out a request once for each Idempotency-Key of a caller.
//
// Claim, work and answer are one transaction, and nothing is sent before it has
// committed.  An answer under 500 is stored.  An error, and an answer of 500 and
// above, rolls the work back and stores nothing, so that a retry runs the handler
// again.
type idempotency struct {
	db     *pgxpool.Pool
	caller func(*http.Request) string
}

var (
	stored = []string{"Content-Language", "Content-Location", "Content-Type", "ETag", "Last-Modified", "Link", "Location"}
	titles = map[int]string{
		400: "The request or its Idempotency-Key is not acceptable",
		409: "A request with this Idempotency-Key is being carried out",
		412: "The request is too old to be sent again",
		413: "The answer is too large to be stored",
		422: "The Idempotency-Key was used for a different request",
	}
	// SQLSTATEs for a body that is not JSON, or that jsonb can't hold.
	notJSONB = map[string]bool{"22P02": true, "22P05": true, "22021": true, "22003": true, "54001": true}
)

// sent is what goes out: an answer whose body is JSON, or a refusal.
type sent struct {
	status int
	header map[string]string
	body   *string
}

// unstored is the error of an answer that rolls the transaction back.
type unstored struct{ sent }

func (unstored) Error() string { return "rolled back" }

// undone is the error of a refusal whose handler has ignored an error of the
// database: the work is rolled back, and the refusal is stored.
type undone struct{ answer }

func (undone) Error() string { return "undone" }

func (i idempotency) handle(operation string, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		s, err := i.respond(operation, h, r, body)
		var refusal undone
		if errors.As(err, &refusal) {
			// In a new transaction; in between another request may have
			// claimed the key, whose answer is then sent here too.
			s, err = i.respond(operation, func(context.Context, pgx.Tx, *http.Request) (answer, error) {
				return refusal.answer, nil
			}, r, body)
		}
		var u unstored
		if errors.As(err, &u) {
			s, err = u.sent, nil
		}
		if err != nil {
			log.Print(err)
			http.Error(w, "", http.StatusInternalServerError)
			return
		}
		if s.body != nil {
			w.Header().Set("Content-Type", "application/json")
		}
		for name, value := range s.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(s.status)
		if s.body != nil {
			io.WriteString(w, *s.body)
		}
	}
}

func (i idempotency) respond(operation string, h handler, r *http.Request, body []byte) (s sent, err error) {
	caller := i.caller(r)
	if caller == "" {
		return s, errors.New("the caller of the request is unknown")
	}
	scope := operation + "/" + url.PathEscape(caller)
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) != 1 {
		return problem(400, 0), nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// A client that hangs up does not stop a payment half way.
	ctx := context.WithoutCancel(r.Context())

	err = pgx.BeginFunc(ctx, i.db, func(tx pgx.Tx) error {
		var key, outcome string
		var status, retryAfter int
		err := tx.QueryRow(ctx, `
			SELECT key, outcome, coalesce(status_code, 0), coalesce(ceil(extract(epoch FROM retry_after))::integer, 0),
			       response -> 'headers', response ->> 'body'
			  FROM idempotency.parse_header($1) AS key,
			       idempotency.claim(key => key, scope => $2, wait => '0', request => jsonb_build_object(
			           'method', $3::text, 'path', $4::text, 'query', $5::text, 'body', $6::text::jsonb))`,
			keys[0], scope, r.Method, r.URL.EscapedPath(), r.URL.RawQuery, comparable(r, body)).
			Scan(&key, &outcome, &status, &retryAfter, &s.header, &s.body)
		switch {
		case err != nil:
			return refused(err, true)
		case outcome == "replay":
			s.status = status
			if s.header == nil {
				s.header = map[string]string{}
			}
			s.header["Idempotent-Replayed"] = "true"
			return nil
		case outcome == "recovered":
			// A previous owner has committed a part of the work.
			return errors.New("claims of the scope have a lease: " + scope)
		case outcome != "new":
			s = problem(status, retryAfter)
			return nil
		}

		a, err := h(ctx, tx, r)
		if err != nil {
			return err
		}
		if s, err = toSend(a); err != nil {
			return err
		}
		if s.status >= 500 {
			return unstored{s}
		}
		headers := map[string]string{}
		for _, name := range stored {
			if value, ok := a.Header[name]; ok {
				headers[name] = value
			}
		}
		_, err = tx.Exec(ctx, `
			SELECT idempotency.complete(key => $1, scope => $2, status_code => $3,
			                            response => jsonb_build_object('headers', $4::jsonb, 'body', $5::text))`,
			key, scope, s.status, headers, s.body)
		var e *pgconn.PgError
		if s.status >= 400 && errors.As(err, &e) && e.Code == "25P02" {
			return undone{a}
		}
		return refused(err, false)
	})
	return s, err
}

// comparable returns the body as JSON.
func comparable(r *http.Request, body []byte) *string {
	if len(body) == 0 {
		return nil
	}
	text := string(body)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		text = strconv.Quote(base64.StdEncoding.EncodeToString(body))
	}
	return &text
}

func toSend(a answer) (sent, error) {
	if a.Body == nil {
		return sent{a.Status, a.Header, nil}, nil
	}
	body, err := json.Marshal(a.Body)
	text := string(body)
	return sent{a.Status, a.Header, &text}, err
}

// refused makes an answer of an error that the client has caused; any other error
// is a fault of the service.
func refused(err error, claiming bool) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	if claiming && notJSONB[e.Code] {
		return unstored{problem(400, 0)}
	}
	if code, ok := strings.CutPrefix(e.Code, "IK"); ok {
		if status, _ := strconv.Atoi(code); titles[status] != "" {
			return unstored{problem(status, 1)}
		}
	}
	return err
}

func problem(status, retryAfter int) sent {
	header := map[string]string{"Content-Type": "application/problem+json"}
	if status == 409 {
		header["Retry-After"] = strconv.Itoa(max(retryAfter, 1))
	}
	body := fmt.Sprintf(`{"title": %q, "status": %d}`, titles[status], status)
	return sent{status, header, &body}
}
