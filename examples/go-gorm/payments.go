package main

import "gorm.io/gorm"

type Request struct {
	Amount int `json:"amount"`
}

type Payment struct {
	ID       int    `json:"id"`
	Customer string `json:"customer"`
	Amount   int    `json:"amount"`
}

func Pay(db *gorm.DB, key, customer string, request Request) (Answer, error) {
	return Idempotent(db, key, "payments/"+customer, request, func(tx *gorm.DB) (int, any, error) {
		payment := Payment{Customer: customer, Amount: request.Amount}
		err := tx.Create(&payment).Error
		return 201, payment, err
	})
}
