package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type request struct {
	Amount int `json:"amount"`
}

type payment struct {
	ID       int    `json:"id"`
	Customer string `json:"customer"`
	Amount   int    `json:"amount"`
}

func pay(ctx context.Context, db *pgxpool.Pool, key, customer string, request request) (int, any, error) {
	return idempotent(ctx, db, key, "payments/"+customer, request, func(tx pgx.Tx) (int, any, error) {
		rows, _ := tx.Query(ctx, `INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *`,
			customer, request.Amount)
		made, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[payment])
		return 201, made, err
	})
}
