// A simulated card processor: POST /charges charges a card once for each
// Idempotency-Key, in memory; GET /charges lists the charges, a line each.
//
// The card says how it behaves: "declined" is refused, "slow" takes a second,
// "flaky" is charged but the first answer is lost.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

type charge struct {
	id     string
	amount int
	done   chan struct{}
}

var (
	mutex   sync.Mutex
	charges []*charge
	byKey   = map[string]*charge{}
)

func postCharge(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Amount int
		Card   string
	}
	key := r.Header.Get("Idempotency-Key")
	if err := json.NewDecoder(r.Body).Decode(&order); err != nil || key == "" {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	if order.Card == "declined" {
		w.WriteHeader(http.StatusPaymentRequired)
		fmt.Fprint(w, `{"reason": "Insufficient funds."}`)
		return
	}

	mutex.Lock()
	c, known := byKey[key]
	if !known {
		c = &charge{id: fmt.Sprintf("ch_%d", len(charges)+1), amount: order.Amount, done: make(chan struct{})}
		byKey[key] = c
		charges = append(charges, c)
	}
	mutex.Unlock()

	if !known {
		if order.Card == "slow" {
			time.Sleep(time.Second)
		}
		close(c.done)
		if order.Card == "flaky" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
	}
	<-c.done
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id": %q}`, c.id)
}

func getCharges(w http.ResponseWriter, r *http.Request) {
	mutex.Lock()
	defer mutex.Unlock()
	for _, c := range charges {
		fmt.Fprintln(w, c.id, c.amount)
	}
}

func main() {
	http.HandleFunc("POST /charges", postCharge)
	http.HandleFunc("GET /charges", getCharges)
	log.Fatal(http.ListenAndServe(os.Getenv("LISTEN"), nil))
}
