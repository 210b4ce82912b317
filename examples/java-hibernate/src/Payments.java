import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Table;

record Payments(Idempotent idempotent) {
    @Entity
    @Table(name = "payments")
    static class Payment {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        Integer id;

        String customer;
        int amount;

        String toJson() {
            return "{\"id\": %d, \"customer\": \"%s\", \"amount\": %d}".formatted(id, customer, amount);
        }
    }

    Idempotent.Answer pay(String key, String customer, int amount) {
        return idempotent.run(key, "payments/" + customer, "{\"amount\": " + amount + "}", session -> {
            var payment = new Payment();
            payment.customer = customer;
            payment.amount = amount;
            session.persist(payment);
            session.flush();
            return new Idempotent.Answer(201, payment.toJson());
        });
    }
}
