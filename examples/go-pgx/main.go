package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// main answers the requests of promises.pl.
func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	// PgBouncer before 1.21 knows nothing of prepared statements.  In this mode
	// a statement is described each time, with no name.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	ctx := context.Background()
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}

	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var key, customer string
		var request request
		if _, err := fmt.Sscan(lines.Text(), &key, &customer, &request.Amount); err != nil {
			log.Fatal(err)
		}
		status, body, err := pay(ctx, db, key, customer, request)
		if err != nil {
			status, body = statusOf(err), problem{err.Error()}
		}
		text, _ := json.Marshal(body)
		fmt.Println(status, string(text))
	}
}
