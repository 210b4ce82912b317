package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type payment struct {
	ID       int    `json:"id"`
	Customer string `json:"customer"`
	Amount   int    `json:"amount"`
}

// customerOf stands in for your authentication.
func customerOf(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

func pay(ctx context.Context, tx pgx.Tx, r *http.Request) (answer, error) {
	var order struct{ Amount int }
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
		return answer{Status: 400}, nil
	}
	rows, _ := tx.Query(ctx, `INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *`,
		customerOf(r), order.Amount)
	made, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[payment])
	return answer{201, map[string]string{"Location": "/payments/" + strconv.Itoa(made.ID)}, made}, err
}

func routes(db *pgxpool.Pool) *http.ServeMux {
	once := idempotency{db, customerOf}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments", once.handle("payments", pay))
	return mux
}
