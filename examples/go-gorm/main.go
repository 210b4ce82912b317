package main

import (
	"bufio"
	"fmt"
	"log"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// main answers the requests of promises.pl.
func main() {
	// PgBouncer before 1.21 does not support prepared statements.
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: os.Getenv("DATABASE_URL"), PreferSimpleProtocol: true}),
		&gorm.Config{Logger: logger.Discard})
	if err != nil {
		log.Fatal(err)
	}

	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var key, customer string
		var request Request
		if _, err := fmt.Sscan(lines.Text(), &key, &customer, &request.Amount); err != nil {
			log.Fatal(err)
		}
		answer, err := Pay(db, key, customer, request)
		if err != nil {
			answer, _ = NewAnswer(StatusOf(err), map[string]string{"title": err.Error()})
		}
		fmt.Println(answer.Status, string(answer.Body))
	}
}
