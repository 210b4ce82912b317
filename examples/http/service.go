// A payments service.  POST /payments charges a card once for each
// Idempotency-Key, however often it is sent and wherever the service dies.
//
// The card processor is outside the database, so the work is cut into phases
// that each commit: the claim, whose lease keeps others away; the payment's row;
// the charge, under a key derived from the client's; the result.  The next owner
// of the claim continues after the last phase that was committed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

type service struct {
	db        *pgxpool.Pool
	processor string        // the card processor's URL
	lease     time.Duration // longer than a call of the processor may take
	passed    func(phase string)
}

// order is what a client asks for.
type order struct {
	Amount   int    `json:"amount"`
	Currency string `json:"currency"`
	Card     string `json:"card"`
}

// progress is the state that a checkpoint keeps for the owner that takes over.
type progress struct {
	Payment int64  `json:"payment"`
	Charge  string `json:"charge,omitempty"`
}

// claim is the result of idempotency.claim(), and its key and scope.
type claim struct {
	key, scope    string
	outcome       string
	statusCode    int
	resourceID    string
	response      string
	attempt       int
	recoveryPoint string
	state         progress
	retryAfter    int
}

// reply is sent back to the client.
type reply struct {
	status     int
	body       string
	resourceID string
	retryAfter int
	replayed   bool
}

func (s *service) postPayment(w http.ResponseWriter, r *http.Request) {
	account, _, ok := r.BasicAuth()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="payments"`)
		send(w, problem(401, "Who is paying?", ""))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	var o order
	if err != nil || json.Unmarshal(body, &o) != nil || o.Amount <= 0 {
		send(w, problem(400, "The body is not an order", `Send {"amount": 1990, "currency": "EUR", "card": "..."}.`))
		return
	}

	// A client that hangs up does not stop a payment half way.
	ctx := context.WithoutCancel(r.Context())
	answer, err := s.pay(ctx, r, account, o, string(body))
	if err != nil {
		answer = refusal(err)
	}
	send(w, answer)
}

// pay claims the key, and either returns the answer that is stored under it or
// does the phases that are left.
func (s *service) pay(ctx context.Context, r *http.Request, account string, o order, body string) (reply, error) {
	if len(r.Header["Idempotency-Key"]) > 1 {
		return problem(400, "There are several Idempotency-Key headers", "Send one."), nil
	}
	c, err := s.claim(ctx, r, "payments/"+url.PathEscape(account), body)
	if err != nil {
		return reply{}, err
	}

	switch c.outcome {
	case "new", "recovered":
	case "replay":
		return reply{status: c.statusCode, body: c.response, resourceID: c.resourceID, replayed: true}, nil
	case "in_progress":
		answer := problem(409, "A request with this Idempotency-Key is outstanding", "Send it again later.")
		answer.retryAfter = c.retryAfter
		return answer, nil
	case "mismatch":
		return problem(422, "Idempotency-Key is already used", "Make a new key for a new order."), nil
	default:
		return problem(c.statusCode, "This request is too old to be sent again", "It may have run: find out before you send it with a new key."), nil
	}

	switch c.recoveryPoint {
	case "":
		s.passed("claimed")
		if err = s.create(ctx, &c, account, o); err != nil {
			return reply{}, err
		}
		fallthrough
	case "created":
		s.passed("created")
		charge, answer, err := s.charge(ctx, c, o)
		if err != nil || charge == "" {
			return answer, err
		}
		s.passed("called")
		c.state.Charge = charge
		if err = s.checkpoint(ctx, s.db, c, "charged"); err != nil {
			return reply{}, err
		}
		fallthrough
	case "charged":
		s.passed("charged")
		answer, err := s.finish(ctx, c)
		s.passed("completed")
		return answer, err
	}
	return reply{}, fmt.Errorf("unknown recovery point %q", c.recoveryPoint)
}

// claim commits: from here on the lease keeps the key.  The request that is
// compared consists of method, path, query and body.
func (s *service) claim(ctx context.Context, r *http.Request, scope, body string) (c claim, err error) {
	c.scope = scope
	var state string
	err = s.db.QueryRow(ctx, `
		SELECT key, outcome, coalesce(status_code, 0), coalesce(resource_id, ''), coalesce(response::text, ''),
		       coalesce(attempt, 0), coalesce(recovery_point, ''), coalesce(state::text, '{}'),
		       coalesce(ceil(extract(epoch FROM retry_after)), 0)::integer
		FROM idempotency.parse_header(nullif($1, ''), strict => true) AS key,
		     idempotency.claim(key => key, scope => $2, wait => '0', lease => make_interval(secs => $3),
		                       request => jsonb_build_object('method', $4::text, 'path', $5::text, 'query', $6::text,
		                                                     'body', $7::text::jsonb))`,
		r.Header.Get("Idempotency-Key"), scope, s.lease.Seconds(), r.Method, r.URL.EscapedPath(), r.URL.RawQuery, body).
		Scan(&c.key, &c.outcome, &c.statusCode, &c.resourceID, &c.response,
			&c.attempt, &c.recoveryPoint, &state, &c.retryAfter)
	if err == nil {
		err = json.Unmarshal([]byte(state), &c.state)
	}
	return c, err
}

// checkpoint stores the phase that this attempt has reached, and renews its lease.
func (s *service) checkpoint(ctx context.Context, db execer, c claim, phase string) error {
	_, err := db.Exec(ctx, `
		SELECT idempotency.checkpoint(key => $1, scope => $2, recovery_point => $3, state => $4::jsonb, attempt => $5,
		                              lease => make_interval(secs => $6))`,
		c.key, c.scope, phase, encode(c.state), c.attempt, s.lease.Seconds())
	return err
}

// execer is a transaction, or a pool, which makes one of each statement.
type execer interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}

// create makes the payment's row; row and checkpoint commit together.
func (s *service) create(ctx context.Context, c *claim, account string, o order) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO payments (account, amount, currency) VALUES ($1, $2, $3) RETURNING id`,
			account, o.Amount, o.Currency).Scan(&c.state.Payment)
		if err != nil {
			return err
		}
		return s.checkpoint(ctx, tx, *c, "created")
	})
}

// charge asks the processor for the money.  The key that it sends is the same for
// every attempt, so that the processor finds the charge of an owner that died,
// and does not charge again.  Without a charge it returns an answer for the client.
func (s *service) charge(ctx context.Context, c claim, o order) (charge string, answer reply, err error) {
	var key string
	err = s.db.QueryRow(ctx, `SELECT idempotency.derive($1, 'charge for ' || $2)`, c.key, c.scope).Scan(&key)
	if err != nil {
		return "", reply{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, s.lease*2/3)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "POST", s.processor+"/charges", strings.NewReader(encode(o)))
	if err != nil {
		return "", reply{}, err
	}
	request.Header.Set("Idempotency-Key", strconv.Quote(key))
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		defer response.Body.Close()
		var result struct{ ID, Reason string }
		err = json.NewDecoder(response.Body).Decode(&result)
		if err == nil && response.StatusCode == 201 {
			return result.ID, reply{}, nil
		}
		if err == nil && response.StatusCode == 402 {
			answer, err = s.decline(context.WithoutCancel(ctx), c, result.Reason)
			return "", answer, err
		}
	}

	// Nobody knows whether the card was charged.  The claim and its recovery
	// point stay; a short lease lets the next request find out soon.
	log.Printf("no answer from the processor for payment %d: %v", c.state.Payment, err)
	_, err = s.db.Exec(context.WithoutCancel(ctx), `
		SELECT idempotency.heartbeat(key => $1, scope => $2, attempt => $3, lease => '1 second')`,
		c.key, c.scope, c.attempt)
	answer = problem(503, "The card processor does not answer", "Send the same request again.")
	answer.retryAfter = 1
	return "", answer, err
}

// finish stores the result and answers with it, in the text that a replay will
// have.
func (s *service) finish(ctx context.Context, c claim) (answer reply, err error) {
	answer = reply{status: 201, resourceID: strconv.FormatInt(c.state.Payment, 10)}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			UPDATE payments SET status = 'paid', charge = $1 WHERE id = $2
			RETURNING to_jsonb(payments)::text`, c.state.Charge, c.state.Payment).Scan(&answer.body)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			SELECT idempotency.complete(key => $1, scope => $2, response => $3::jsonb, resource_id => $4,
			                            status_code => $5, attempt => $6)`,
			c.key, c.scope, answer.body, answer.resourceID, answer.status, c.attempt)
		return err
	})
	return answer, err
}

// decline stores a refusal that no retry will change.
func (s *service) decline(ctx context.Context, c claim, reason string) (answer reply, err error) {
	answer = problem(402, "The card was declined", reason)
	answer.resourceID = strconv.FormatInt(c.state.Payment, 10)
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE payments SET status = 'declined' WHERE id = $1`, c.state.Payment)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			SELECT problem::text FROM (SELECT $3::jsonb) AS p (problem),
			idempotency.fail(key => $1, scope => $2, response => problem, resource_id => $4, status_code => $5, attempt => $6)`,
			c.key, c.scope, answer.body, answer.resourceID, answer.status, c.attempt).Scan(&answer.body)
	})
	return answer, err
}

// caused has the statuses of errors that the client has caused.  Any other error
// is the service's own fault.
var caused = map[string]int{
	"IK400": 400, "IK409": 409, "IK412": 412, "IK413": 413, "IK422": 422,
	// For a body that jsonb can't hold.
	"22P02": 400, "22P05": 400, "22021": 400, "22003": 400, "54001": 400,
}

// refusal makes an answer of an error; its detail and hint say what to do.
func refusal(err error) reply {
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == "IK423":
		// This attempt was too slow, and another one has taken over.
		answer := problem(409, "A request with this Idempotency-Key is outstanding", "Send it again later.")
		answer.retryAfter = 1
		return answer
	case errors.As(err, &e) && caused[e.Code] != 0:
		status := caused[e.Code]
		return problem(status, e.Message, strings.TrimSpace(e.Detail+" "+e.Hint))
	default:
		log.Print(err)
		answer := problem(503, "The payment could not be made now", "Send the same request again.")
		answer.retryAfter = 1
		return answer
	}
}

// problem is an RFC 9457 document.
func problem(status int, title, detail string) reply {
	return reply{status: status, body: encode(map[string]any{
		"type": "/problems/" + strconv.Itoa(status), "status": status, "title": title, "detail": detail,
	})}
}

func send(w http.ResponseWriter, r reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if r.status >= 400 {
		h.Set("Content-Type", "application/problem+json")
	}
	if r.resourceID != "" {
		h.Set("Location", "/payments/"+r.resourceID)
	}
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	w.WriteHeader(r.status)
	io.WriteString(w, r.body)
}

func encode(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	// A pooler in transaction mode keeps no prepared statements.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	db, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	lease, err := time.ParseDuration(os.Getenv("LEASE"))
	if err != nil {
		log.Fatal(err)
	}

	s := &service{db: db, processor: os.Getenv("PROCESSOR_URL"), lease: lease, passed: dieAfter(os.Getenv("DIE_AFTER"))}
	http.HandleFunc("POST /payments", s.postPayment)
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
