CALL pay(:'key', :'customer', :amount, NULL, NULL);
